package socket

import (
	"bytes"
	"sync"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/ws"
)

// reserveBytes is the most that is asked of conn.Conn.Reserve: the smallest block that can be configured.
const reserveBytes = 4 << 10

// keptBytes is the largest buffer for compressing that is kept for reuse.
const keptBytes = 64 << 10

// gone is added to the load of a connection that has closed: far more than can be queued.
const gone = 1 << 61

// scratch is where messages are compressed.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// encoder is how messages to the peer are written.
func (c *Conn) encoder() ws.Encoder {
	o := &c.service.options
	return ws.Encoder{Agreed: c.agreed, Level: o.Level, Least: o.CompressBytes}
}

// Queued is how many bytes have not been taken by the kernel.
func (c *Conn) Queued() int64 {
	n := c.conn.Queued()
	if e := c.extra; e != nil {
		n += int64(len(e.out) - e.at)
	}
	return n
}

// Send queues a message, ws.Text or ws.Binary, of which a copy is taken. That a text is UTF-8 is for the caller to
// know. It returns ErrFull, with nothing queued, when Options.QueueBytes are, and ErrClosed behind Close.
func (c *Conn) Send(opcode ws.Opcode, p []byte) error {
	switch {
	case c.state != open:
		return ErrClosed
	case c.Queued() >= c.service.options.QueueBytes:
		return ErrFull
	}
	c.send(opcode, p)
	c.count(0)
	return nil
}

// SendMessage is Send of a message that goes to many. Nothing is copied but into the queue.
func (c *Conn) SendMessage(m *Message) error {
	switch {
	case c.state != open:
		return ErrClosed
	case c.Queued() >= c.service.options.QueueBytes:
		return ErrFull
	}
	c.put(m.frame(c))
	c.count(0)
	return nil
}

// send queues a message, whatever is queued.
func (c *Conn) send(opcode ws.Opcode, p []byte) {
	e := c.encoder()
	if e.Deflates(len(p)) {
		b := scratch.Get().(*[]byte)
		*b = e.AppendMessage((*b)[:0], opcode, p)
		c.put(*b)
		if cap(*b) <= keptBytes {
			scratch.Put(b)
		}
		return
	}
	h := ws.Header{Opcode: opcode, Final: true, Length: int64(len(p))}
	if n := len(p) + ws.HeaderBytes; n <= reserveBytes && c.extra == nil && c.conn.Room() >= int64(n) {
		if room := c.conn.Reserve(n); room != nil {
			b := append(ws.AppendHeader(room[:0], h), p...)
			c.conn.Commit(len(b))
		}
		return
	}
	var head [ws.HeaderBytes]byte
	c.put(ws.AppendHeader(head[:0], h))
	c.put(p)
}

// control queues a control frame.
func (c *Conn) control(opcode ws.Opcode, payload []byte) {
	var room [ws.HeaderBytes + ws.ControlBytes]byte
	var e ws.Encoder
	c.put(e.AppendControl(room[:0], opcode, payload))
}

// put queues bytes, behind what waits. What the connection has no room for waits here.
func (c *Conn) put(p []byte) {
	if c.extra == nil || c.extra.at == len(c.extra.out) {
		n := len(p)
		if n > ws.HeaderBytes+ws.ControlBytes { // a control frame finds room in any case
			n = int(min(int64(n), c.conn.Room()))
		}
		c.conn.Write(p[:n])
		p = p[n:]
	}
	if len(p) == 0 || c.conn.State() > conn.Open {
		return
	}
	if c.extra == nil {
		c.extra = new(extra)
	}
	c.extra.out = append(c.extra.out, p...)
}

// pump queues what waits, as far as there is room now.
func (c *Conn) pump() {
	e := c.extra
	if e == nil {
		return
	}
	n := int(min(int64(len(e.out)-e.at), c.conn.Room()))
	c.conn.Write(e.out[e.at:][:n])
	if e.at += n; e.at == len(e.out) {
		e.out, e.at = nil, 0
		c.trim()
	}
}

// count brings load up to date, with n bytes of it that were posted and are queued now.
func (c *Conn) count(n int64) {
	queued := c.Queued()
	c.load.Add(queued - c.counted - n)
	c.counted = queued
}

// Message is a message that goes to many connections: it is framed once, and compressed once. Any goroutine may use it.
type Message struct {
	opcode   ws.Opcode
	plain    []byte // with its header
	payload  []byte // in plain
	once     sync.Once
	deflated []byte
}

// NewMessage makes a message, ws.Text or ws.Binary, with a copy of p.
func NewMessage(opcode ws.Opcode, p []byte) *Message {
	var e ws.Encoder
	m := &Message{opcode: opcode}
	m.plain = e.AppendMessage(make([]byte, 0, len(p)+ws.HeaderBytes), opcode, p)
	m.payload = m.plain[len(m.plain)-len(p):]
	return m
}

// frame is the message as a connection gets it. Peers with a window of another size than the usual one get it
// uncompressed, as every peer understands it.
func (m *Message) frame(c *Conn) []byte {
	e := c.encoder()
	if !e.Deflates(len(m.payload)) || e.Agreed.Bits != ws.WindowBits {
		return m.plain
	}
	m.once.Do(func() { m.deflated = e.AppendMessage(nil, m.opcode, m.payload) })
	return m.deflated
}

// Ref reaches a connection from other goroutines, also after it has closed, when it does nothing. The zero Ref reaches
// nothing.
type Ref struct {
	c   *Conn
	ref conn.Ref
}

// Ref returns what other goroutines may keep.
func (c *Conn) Ref() Ref { return Ref{c, c.conn.Ref()} }

// Post runs f on the thread of the connection, outside any other callback, unless the connection is closed by then. It
// reports false when that is known.
func (r Ref) Post(f func(c *Conn)) bool {
	return r.c != nil && r.ref.Post(func(conn.Conn) {
		if r.c.state == open {
			r.c.call(f)
		}
	})
}

// Send is Conn.Send from any goroutine. What is on its way to the thread of the connection counts as queued. Messages
// of one goroutine stay in order. No error is no promise that the message leaves: the connection may close before.
func (r Ref) Send(opcode ws.Opcode, p []byte) error {
	p = bytes.Clone(p)
	return r.send(int64(len(p)), func(c *Conn) { c.send(opcode, p) })
}

// SendMessage is Conn.SendMessage from any goroutine, as Send is.
func (r Ref) SendMessage(m *Message) error {
	return r.send(int64(len(m.plain)), func(c *Conn) { c.put(m.frame(c)) })
}

// send has f queue some n bytes.
func (r Ref) send(n int64, f func(c *Conn)) error {
	c := r.c
	if c == nil {
		return ErrClosed
	}
	if before := c.load.Add(n) - n; before >= c.service.options.QueueBytes {
		c.load.Add(-n)
		if before >= gone/2 {
			return ErrClosed
		}
		return ErrFull
	}
	posted := r.ref.Post(func(conn.Conn) {
		if c.state == open {
			f(c)
		}
		c.count(n)
	})
	if !posted {
		c.load.Add(-n)
		return ErrClosed
	}
	return nil
}

// Close is Conn.Close from any goroutine.
func (r Ref) Close(code ws.Code, reason string) {
	if r.c != nil {
		r.ref.Post(func(conn.Conn) { r.c.Close(code, reason) })
	}
}
