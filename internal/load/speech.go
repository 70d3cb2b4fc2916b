package load

import (
	"bytes"
	"encoding/binary"

	"github.com/myriad-server/myriad/internal/sys"
)

// speech is what is said on the connections of a worker. It tells the worker of every answer with worker.answered.
type speech interface {
	// prepare makes the bytes that are sent, outside the heap: drivers send from where they are.
	prepare(w *worker) error
	// request is the bytes of n requests; the last of a connection may say so. They stay as they are until sent.
	request(c *client, n int, last bool) (head []byte, rest [][]byte)
	// received takes bytes of answers. A cause ends the connection.
	received(c *client, in []byte) (cause string)
	// ended is told of the peer's last byte, and says what that means for a request that is not answered.
	ended(c *client) (cause string)
	// forget lets go of what a client holds.
	forget(c *client)
	// counts says that a request which was taken by the kernel is answered by that.
	counts() bool
}

// speak is the speech of a plan.
func speak(p *Plan) speech {
	if p.Target.HTTP() {
		return &hypertext{plan: p}
	}
	if p.Target.Datagrams() {
		return &datagrams{request0: p.Request}
	}
	return &stream{plan: p.Request}
}

// fill makes n bytes that can be told from each other and from zeros.
func fill(p []byte) {
	for i := range p {
		p[i] = 'a' + byte(i%26)
	}
}

// stream is the speech of TCP and Unix sockets.
type stream struct {
	w       *worker
	plan    Request
	payload []byte // Pipeline requests
}

func (s *stream) prepare(w *worker) (err error) {
	s.w = w
	if s.plan.AnswerBytes == 0 {
		s.plan.AnswerBytes = s.plan.Bytes
	}
	if s.plan.Pattern == Echo {
		s.plan.AnswerBytes = s.plan.Bytes
	}
	if w.memory, err = sys.Map(s.plan.Bytes * w.plan.Pipeline); err != nil {
		return err
	}
	s.payload = w.memory[:s.plan.Bytes*w.plan.Pipeline]
	for i := range w.plan.Pipeline {
		fill(s.payload[i*s.plan.Bytes:][:s.plan.Bytes])
	}
	return nil
}

func (s *stream) request(_ *client, n int, _ bool) ([]byte, [][]byte) {
	if s.plan.Pattern == Download {
		return s.payload[:1], nil // whoever waits for a byte before it sends gets one
	}
	return s.payload[:n*s.plan.Bytes], nil
}

func (s *stream) received(c *client, in []byte) string {
	if s.plan.Pattern == Upload {
		return ""
	}
	for len(in) > 0 {
		if c.flying == 0 {
			if s.plan.Pattern == Download {
				return ""
			}
			return causeUnasked
		}
		n := min(len(in), s.plan.AnswerBytes-c.got)
		if s.plan.Pattern == Echo && !bytes.Equal(in[:n], s.payload[c.got:c.got+n]) {
			return causeWrong
		}
		in = in[n:]
		if c.got += n; c.got == s.plan.AnswerBytes {
			c.got = 0
			s.w.answered(c, "")
			if s.plan.Pattern == Download {
				s.w.again(c)
			}
		}
	}
	return ""
}

// again counts on: in a download the next answer follows without having been asked for.
func (w *worker) again(c *client) {
	if w.phase == phaseRun && w.quota > 0 && c.kind == active {
		w.give(c, w.now)
		c.unsent--
		w.wheel.Set(c.index, w.now+int64(w.plan.Timeout))
	}
}

func (s *stream) ended(c *client) string {
	if c.got > 0 {
		return causeShort
	}
	return causeClosed
}

func (s *stream) forget(*client) {}

func (s *stream) counts() bool { return s.plan.Pattern == Upload }

// stampBytes is the part of a datagram that says which request it is: an echo that comes too late is told from the one
// that is waited for.
const stampBytes = 8

// datagrams is the speech of UDP: each client sends from bytes of its own.
type datagrams struct {
	w        *worker
	request0 Request
	size     int
}

func (d *datagrams) prepare(w *worker) (err error) {
	d.w, d.size = w, d.request0.Bytes
	if w.memory, err = sys.Map(max(1, d.size*len(w.clients))); err != nil {
		return err
	}
	fill(w.memory)
	return nil
}

func (d *datagrams) own(c *client) []byte { return d.w.memory[int(c.index)*d.size:][:d.size] }

func (d *datagrams) stamped() bool { return d.size >= stampBytes && d.request0.Pattern == Echo }

func (d *datagrams) request(c *client, _ int, _ bool) ([]byte, [][]byte) {
	p := d.own(c)
	if d.stamped() {
		c.sequence++
		binary.LittleEndian.PutUint32(p, c.index)
		binary.LittleEndian.PutUint32(p[4:], c.sequence)
	}
	return p, nil
}

func (d *datagrams) received(c *client, in []byte) string {
	want := d.request0.AnswerBytes
	switch {
	case c.flying == 0:
		d.w.tally.stale++
	case d.request0.Pattern == PingPong && (want == 0 || len(in) == want):
		d.w.answered(c, "")
	case d.request0.Pattern == PingPong:
		d.w.answered(c, causeWrong)
	case bytes.Equal(in, d.own(c)):
		d.w.answered(c, "")
	case d.stamped() && len(in) == d.size && bytes.Equal(in[stampBytes:], d.own(c)[stampBytes:]):
		d.w.tally.stale++
	default:
		d.w.answered(c, causeWrong)
	}
	return ""
}

func (d *datagrams) ended(*client) string { return causeClosed }
func (d *datagrams) forget(*client)       {}
func (d *datagrams) counts() bool         { return false }
