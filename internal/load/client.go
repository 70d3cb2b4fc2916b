package load

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/driver"
)

// state is where a client's connection is in its life.
type state uint8

const (
	vacant state = iota
	dialling
	open
	closing
)

// kind is what a client is there for.
type kind uint8

const (
	active kind = iota
	idle
	slow
)

// flags are facts beside the state.
type flags uint16

const (
	flagMarked  flags = 1 << iota // in worker.dirty
	flagListed                    // in worker.queue
	flagFirst                     // counted in worker.dialling
	flagPausing                   // its timer ends a pause
	flagCalled                    // what is in flight was cancelled
	flagShut                      // Close is in flight
	flagEnded                     // the peer has sent its last byte
	flagAwaited                   // counted in worker.awaited
	flagLast                      // the server will close after the answer
	flagConnect                   // the driver had no room for its connect
	flagMade                      // a Unix socket that is connected, to be opened by pump
	flagReset                     // close with a reset
)

// client is a place for a connection, one after another.
type client struct {
	recv, send driver.Token // in flight, or zero
	since      int64        // when its connection was begun
	answer     *answer      // of the answer that has begun to come; HTTP only
	got        int          // bytes of the answer that have come; streams only
	asked      int          // requests of this connection
	first      uint16       // of its times
	flying     uint16       // requests that are not answered
	unsent     uint16       // of them
	index      uint32
	fd         int32
	sequence   uint32 // of datagrams
	written    int32  // slow: bytes of the request that have been sent
	kind       kind
	state      state
	flags      flags
}

// canTake reports whether one more request can be given to the client.
func (w *worker) canTake(c *client) bool {
	if c.flags&(flagPausing|flagEnded|flagLast) != 0 || c.state == closing {
		return false
	}
	return int(c.flying) < w.plan.Pipeline && (w.plan.PerConnect == 0 || c.asked < w.plan.PerConnect)
}

// ready is called when a client may be able to take requests.
func (w *worker) ready(c *client) {
	if w.phase != phaseRun || c.kind != active {
		return
	}
	if w.schedule != nil {
		w.list(c)
		return
	}
	for w.quota > 0 && w.canTake(c) {
		w.give(c, w.now)
	}
}

// list puts a client into the queue of those that a due request can be given to.
func (w *worker) list(c *client) {
	if c.flags&flagListed == 0 && w.canTake(c) {
		c.flags |= flagListed
		w.queue.put(c.index)
	}
}

// give gives a request to a client, which makes a connection first if it has none.
func (w *worker) give(c *client, due int64) {
	most := w.plan.Pipeline
	w.times[int(c.index)*most+(int(c.first)+int(c.flying))%most] = due
	c.flying++
	c.unsent++
	c.asked++
	if c.kind != slow {
		w.flying++
	}
	if c.kind == active {
		w.quota--
		if due >= w.from {
			w.tally.begun++
		}
	}
	if c.state == vacant {
		w.dial(c)
	}
	w.mark(c)
}

// take removes the oldest request of a client, and returns when it was due.
func (w *worker) take(c *client) (due int64) {
	most := w.plan.Pipeline
	due = w.times[int(c.index)*most+int(c.first)]
	if c.first++; int(c.first) == most {
		c.first = 0
	}
	c.flying--
	if c.kind != slow {
		w.flying--
	}
	return due
}

// answered ends the oldest request of a client: as expected, or with a cause.
func (w *worker) answered(c *client, cause string) {
	due := w.take(c)
	w.tally.answers++
	if c.flying > 0 {
		w.wheel.Set(c.index, w.now+int64(w.plan.Timeout))
	} else {
		w.wheel.Clear(c.index)
	}
	if c.kind != active {
		w.answeredOther(c, cause)
		return
	}
	if s := w.current; s != nil {
		if cause == "" {
			s.Good++
			w.tally.window++
		} else {
			s.Failed++
		}
		s.latency.Record(time.Duration(w.now - due))
	}
	if due < w.from {
		return
	}
	w.latency.Record(time.Duration(w.now - due))
	if cause == "" {
		w.tally.good++
	} else {
		w.tally.failed++
		w.tally.errors[cause]++
	}
	if w.phase != phaseRun {
		w.tally.late++
	}
}

func (w *worker) answeredOther(c *client, cause string) {
	switch {
	case c.kind == slow && cause == "":
		w.tally.slowGood++
	case c.kind == slow:
		w.tally.slowFailed++
	case cause == "":
		w.tally.touched++
		w.arrived(c)
	default:
		w.tally.unmade++
		w.tally.errors["idle connection: "+cause]++
		w.arrived(c)
	}
}

// unanswered ends the oldest request of a client, for which no answer has come. One that was waited for to the last
// counts among the latencies with that time: without it those of a server that stands still would look better the
// shorter the timeout is. One that was cut off counts nowhere, for nobody knows how long it would have taken.
func (w *worker) unanswered(c *client, cause string) {
	due := w.take(c)
	if c.kind != active {
		w.answeredOther(c, cause)
		return
	}
	waited := cause == causeTimeout || cause == causeConnectTimeout || cause == causeEnd
	if s := w.current; s != nil {
		s.Failed++
		if waited {
			s.latency.Record(time.Duration(w.now - due))
		}
	}
	if due < w.from {
		return
	}
	w.tally.failed++
	w.tally.errors[cause]++
	if waited {
		w.latency.Record(time.Duration(w.now - due))
	}
}

// fail ends all requests of a client, and its connection.
func (w *worker) fail(c *client, cause string) {
	for c.flying > 0 {
		w.unanswered(c, cause)
	}
	c.unsent = 0
	w.close(c)
}

// arrived counts a connection of the beginning as made, or as given up.
func (w *worker) arrived(c *client) {
	if c.flags&flagFirst != 0 {
		c.flags &^= flagFirst
		w.dialling--
	}
}

// pump brings what is in flight into line with what the client's state asks for. It may be called at any time.
func (w *worker) pump(c *client) {
	switch c.state {
	case dialling:
		if c.flags&flagMade != 0 {
			c.flags &^= flagMade
			w.made(c)
			w.mark(c)
		} else if c.flags&flagConnect != 0 {
			w.connect(c)
		}
	case open:
		if c.recv == 0 && c.flags&flagEnded == 0 && c.kind != slow {
			w.listen(c, true)
		}
		if c.unsent > 0 && c.kind != slow {
			w.transmit(c)
		}
	case closing:
		w.shut(c)
	}
}

func (w *worker) connect(c *client) {
	token, err := w.driver.Submit(driver.Op{
		Code: driver.Connect, FD: int(c.fd), User: uint64(c.index), Addr: w.address,
	})
	if err != nil {
		w.later(c, err)
		return
	}
	c.flags &^= flagConnect
	c.send = token
}

// listen arms a receive.
func (w *worker) listen(c *client, many bool) {
	op := driver.Op{Code: driver.Recv, FD: int(c.fd), User: uint64(c.index), Many: many}
	if w.plan.Target.Datagrams() {
		op.Code = driver.RecvFrom
	}
	token, err := w.driver.Submit(op)
	if err != nil {
		w.later(c, err)
		return
	}
	c.recv = token
}

// transmit sends the requests that were given to a client.
func (w *worker) transmit(c *client) {
	if c.send != 0 { // the success of the last send may be reported late
		w.await(c)
		return
	}
	p := w.plan
	last := p.PerConnect > 0 && c.asked >= p.PerConnect
	head, rest := w.speech.request(c, int(c.unsent), last)
	op := driver.Op{
		Code: driver.Send, FD: int(c.fd), User: uint64(c.index), Buf: head, Rest: rest, Lazy: !w.speech.counts(),
	}
	if p.Target.Datagrams() {
		op.Code = driver.SendTo
	}
	token, err := w.driver.Submit(op)
	if err != nil {
		w.later(c, err)
		return
	}
	c.send, c.unsent = token, 0
	w.wheel.Set(c.index, w.now+int64(p.Timeout))
}

func (w *worker) await(c *client) {
	if c.flags&flagAwaited == 0 {
		c.flags |= flagAwaited
		w.awaited++
	}
}

// sent takes the completion of a send.
func (w *worker) sent(c *client, done *driver.Completion) {
	c.send = 0
	if c.flags&flagAwaited != 0 {
		c.flags &^= flagAwaited
		w.awaited--
	}
	w.tally.bytesOut += uint64(done.Result)
	w.mark(c)
	switch {
	case c.state != open:
	case done.Err != nil && !errors.Is(done.Err, driver.ErrCanceled):
		w.broken(c, causeOf("", done.Err))
	case c.kind == slow:
	case done.Err == nil && w.speech.counts() && c.flying > 0:
		for c.flying > c.unsent {
			w.answered(c, "")
		}
		w.more(c)
	}
}

// received takes the completion of a receive.
func (w *worker) received(c *client, done *driver.Completion) {
	if done.Flags&driver.More == 0 {
		c.recv = 0
		w.mark(c)
	}
	if b := done.Block; b != nil {
		if done.Err == nil && (done.Result > 0 || done.Code == driver.RecvFrom) {
			w.tally.bytesIn += uint64(done.Result)
			if c.state == open {
				if cause := w.speech.received(c, b.Bytes()[:done.Result]); cause != "" {
					w.fail(c, cause)
				} else {
					w.more(c)
				}
			}
			b.Release()
			return
		}
		b.Release()
	}
	switch {
	case c.state != open:
	case done.Err == nil:
		if done.Code == driver.Recv {
			w.peerEnded(c)
		}
	case errors.Is(done.Err, driver.ErrNoBlock):
		w.refused = true
	case errors.Is(done.Err, driver.ErrCanceled):
	default:
		w.broken(c, causeOf("", done.Err))
	}
}

// more goes on after an answer: with the next request, after a time to think, or with another connection.
func (w *worker) more(c *client) {
	if c.flying > 0 || c.state != open {
		if w.plan.Pipeline > 1 {
			w.ready(c)
		}
		return
	}
	switch {
	case c.flags&flagLast != 0 || w.plan.PerConnect > 0 && c.asked >= w.plan.PerConnect:
		w.close(c)
	case c.kind == slow:
		w.restSlow(c)
	case w.plan.Think > 0 && w.phase == phaseRun && c.kind == active:
		c.flags |= flagPausing
		w.wheel.Set(c.index, w.now+int64(w.plan.Think))
	default:
		w.ready(c)
	}
}

// peerEnded acts on the peer's last byte.
func (w *worker) peerEnded(c *client) {
	c.flags |= flagEnded
	w.tally.closedByIt++
	if c.flying == 0 && c.kind != active {
		w.tally.lostIdle++
	}
	cause := w.speech.ended(c)
	w.fail(c, cause)
}

// broken is the end of a connection by an error. A datagram socket survives it: the port may be taken again.
func (w *worker) broken(c *client, cause string) {
	if w.plan.Target.Datagrams() {
		for c.flying > c.unsent {
			w.unanswered(c, cause)
		}
		c.flags |= flagPausing
		w.wheel.Set(c.index, w.now+int64(dialPause))
		return
	}
	if c.flying == 0 && c.kind != active {
		w.tally.lostIdle++
	}
	w.tally.closedByIt++
	w.fail(c, cause)
}

// expiredOne acts on the timer of a client.
func (w *worker) expiredOne(c *client) {
	switch {
	case c.flags&flagPausing != 0 && c.state != dialling && c.state != closing:
		c.flags &^= flagPausing
		w.ready(c)
		w.mark(c)
	case c.state == dialling:
		w.unmade(c, causeConnectTimeout)
	case c.state != open:
	case c.kind == slow:
		w.goOnSlow(c)
	case c.flying == 0:
	case w.plan.Target.Datagrams():
		c.sequence++ // what comes now is stale
		for c.flying > 0 {
			w.unanswered(c, causeTimeout)
		}
		c.unsent = 0
		w.more(c)
	default:
		w.fail(c, causeTimeout)
	}
}
