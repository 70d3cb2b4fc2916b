package socket

import (
	"sync/atomic"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/ws"
)

// state is where a connection is in its life. It only moves forward.
type state uint8

const (
	opening state = iota // the handshake is being answered
	open                 // messages go both ways
	leaving              // our close frame is queued, and the peer's is waited for
	ending               // what is queued still leaves; nothing that comes is looked at
	closed               // the connection is gone
)

// flags are facts beside the state.
type flags uint8

const (
	held   flags = 1 << iota // not read from, as too much is queued
	paused                   // not read from, as the handler said
	told                     // Closed was called
	ended                    // the peer has sent its last byte, while opening
)

// Conn is a WebSocket connection as its handler sees it. It is used on the thread of the connection only; what other
// goroutines may hold is a Ref. It is all that a connection holds which waits.
type Conn struct {
	conn     conn.Conn
	service  *Service
	attached any
	decoder  ws.Decoder
	extra    *extra // nil: there is none
	heard    int64  // when something last came
	pinged   int64  // when a ping was sent that has not been answered; 0: there is none
	taken    int64  // how many bytes the peer had taken when that was last looked at
	load     atomic.Int64
	counted  int64 // of load, what is queued
	agreed   ws.Extension
	protocol int16
	state    state
	flags    flags
}

// extra is what few connections have, and none that waits.
type extra struct {
	early []byte // input that came before its time
	out   []byte // output that there was no room for, from at on
	at    int
}

// Attach keeps v with the connection, and Attached gives it back.
func (c *Conn) Attach(v any) { c.attached = v }

// Attached is what Accept or Attach has kept.
func (c *Conn) Attached() any { return c.attached }

// Conn is the connection below, for what is not about messages: its ID, its addresses, its clock.
func (c *Conn) Conn() conn.Conn { return c.conn }

// Protocol is the subprotocol that was agreed on; empty if there is none.
func (c *Conn) Protocol() string {
	if c.protocol < 0 {
		return ""
	}
	return c.service.options.Protocols[c.protocol]
}

// Agreed is what was agreed on about compression.
func (c *Conn) Agreed() ws.Extension { return c.agreed }

// Pause stops the delivery of messages behind the present one, so that backpressure reaches the peer. Resume undoes it.
func (c *Conn) Pause() {
	c.flags |= paused
	c.conn.Pause()
}

// Resume lets messages be delivered again.
func (c *Conn) Resume() {
	c.flags &^= paused
	c.regulate()
}

// regulate reads on if nothing is against it.
func (c *Conn) regulate() {
	if c.flags&(paused|held) != 0 || c.state > leaving {
		return
	}
	c.conn.Resume()
	if c.extra != nil && len(c.extra.early) > 0 {
		c.conn.Ref().Post(func(cc conn.Conn) { c.Received(cc, nil) })
	}
}

// begin is the first moment of the connection, behind the answer to the handshake.
func (c *Conn) begin() {
	if c.state != opening {
		return
	}
	c.state = open
	c.heard = c.conn.Now()
	c.conn.SetTimer(c.patience())
	c.call(c.service.handler.Opened)
	if c.conn.Stopping() {
		c.Close(ws.CodeGoingAway, "")
	}
	if c.extra != nil && len(c.extra.early) > 0 {
		c.Received(c.conn, nil)
	}
	if c.flags&ended != 0 {
		c.Ended(c.conn)
	}
}

// patience is the time after which a silent connection is looked at.
func (c *Conn) patience() int64 {
	if c.service.options.Ping > 0 {
		return int64(c.service.options.Ping)
	}
	return int64(defaultPing)
}

// Opened is not called: the connection is older than this.
func (c *Conn) Opened(conn.Conn) {}

// Received takes frames. It is for the engine, as are the other methods with a conn.Conn.
func (c *Conn) Received(cc conn.Conn, in []byte) (used int) {
	e := c.extra
	if c.state != opening && (e == nil || len(e.early) == 0) {
		return c.read(in)
	}
	// What comes with the request must be used at once, whatever it is.
	if e == nil {
		e = new(extra)
		c.extra = e
	}
	e.early = append(e.early, in...)
	if c.state != opening {
		early := e.early
		rest := early[c.read(early):]
		e.early = append([]byte(nil), rest...)
		c.trim()
	}
	return len(in)
}

// trim lets go of what is not needed.
func (c *Conn) trim() {
	if e := c.extra; e != nil && len(e.early) == 0 && e.at == len(e.out) {
		c.extra = nil
	}
}

// read takes frames, until something is against reading on.
func (c *Conn) read(in []byte) (used int) {
	c.heard = c.conn.Now()
	for c.state <= leaving && c.flags&(held|paused) == 0 && c.conn.State() == conn.Open {
		opcode, payload, n, err := c.decoder.Next(in[used:])
		used += n
		if err != nil {
			c.refuse(err.(*ws.Error))
			break
		}
		switch opcode {
		case ws.Continuation:
			if n == 0 {
				return used
			}
		case ws.Text, ws.Binary:
			if c.state == open {
				c.message(opcode, payload)
				c.hold()
			}
		case ws.Ping:
			if c.state == open {
				c.control(ws.Pong, payload)
				c.hold()
			}
		case ws.Close:
			code, reason, _ := ws.ParseClose(payload)
			c.answered(code, string(reason))
		}
	}
	c.decoder.Release()
	if c.state > leaving {
		return len(in)
	}
	return used
}

// message hands a message over.
func (c *Conn) message(opcode ws.Opcode, payload []byte) {
	defer c.survive()
	c.service.handler.Message(c, opcode, payload)
}

// call hands an event over.
func (c *Conn) call(f func(c *Conn)) {
	defer c.survive()
	f(c)
}

// survive keeps a handler's panic from ending the thread. It must be deferred itself.
func (c *Conn) survive() {
	value := recover()
	if value == nil {
		return
	}
	if f := c.service.options.Panicked; f != nil {
		f(c, value)
	}
	if c.state == open {
		c.refuse(&ws.Error{Code: ws.CodeInternal})
	}
}

// hold stops reading from a peer that does not take what it is sent.
func (c *Conn) hold() {
	if c.flags&held == 0 && c.state <= leaving && c.Queued() > c.service.options.QueueBytes/2 {
		c.flags |= held
		c.conn.Pause()
	}
}

// refuse ends a connection whose peer, or whose handler, did what must not be.
func (c *Conn) refuse(fault *ws.Error) {
	if c.state == open {
		c.goodbye(fault.Code, fault.Reason)
	}
	c.tell(fault.Code, fault.Reason)
	c.end()
}

// answered acts on the peer's close frame.
func (c *Conn) answered(code ws.Code, reason string) {
	if c.state == open {
		back := code
		if code == ws.CodeNone {
			back = ws.CodeNormal
		}
		c.goodbye(back, "")
	}
	c.tell(code, reason)
	c.end()
}

// Close begins the end of the connection with a close frame, behind what is queued. Nothing more can be sent, and what
// the peer still sends is not delivered. It does nothing when the connection is being closed already. A code that must
// not be sent becomes ws.CodeProtocol; ws.CodeNone sends none. A reason is cut to 123 bytes.
func (c *Conn) Close(code ws.Code, reason string) {
	if c.state != open {
		return
	}
	c.goodbye(code, reason)
	c.state = leaving
	c.pinged = 0
	c.takes()
	c.conn.SetTimer(int64(c.service.options.Close))
	if c.flags&paused != 0 { // its answer has to be read
		c.Resume()
	}
}

// goodbye queues a close frame.
func (c *Conn) goodbye(code ws.Code, reason string) {
	var room [ws.HeaderBytes + ws.ControlBytes]byte
	var e ws.Encoder
	c.put(e.AppendClose(room[:0], code, reason))
}

// end lets the connection end behind what is queued.
func (c *Conn) end() {
	c.state = ending
	c.decoder.Discard()
	if c.extra != nil {
		c.extra.early = nil
	}
	c.takes()
	c.conn.SetTimer(int64(c.service.options.Pong))
	if e := c.extra; e == nil || e.at == len(e.out) {
		c.conn.Drain()
	}
}

// tell calls Closed, once.
func (c *Conn) tell(code ws.Code, reason string) {
	if c.flags&told != 0 {
		return
	}
	c.flags |= told
	defer func() {
		if value := recover(); value != nil && c.service.options.Panicked != nil {
			c.service.options.Panicked(c, value)
		}
	}()
	c.service.handler.Closed(c, code, reason)
}

// Ended is the peer's last byte. That no close frame came before is no end in order.
func (c *Conn) Ended(cc conn.Conn) {
	if c.state == opening {
		c.flags |= ended
		return
	}
	if c.state < ending {
		c.tell(ws.CodeAbnormal, "")
		c.end()
	}
}

// Flushed goes on with what waits for room.
func (c *Conn) Flushed(cc conn.Conn) {
	if c.pump(); c.state >= ending {
		if e := c.extra; e == nil {
			cc.Drain()
		}
		return
	}
	if c.extra != nil && c.extra.at < len(c.extra.out) || cc.Queued() > 0 {
		return
	}
	c.count(0)
	if c.flags&held != 0 {
		c.flags &^= held
		c.regulate()
	}
	if c.state == open {
		c.call(c.service.handler.Flushed)
	}
}

// takes reports whether the peer has taken something since it was asked last, and has more to take.
func (c *Conn) takes() bool {
	_, out := c.conn.Traffic()
	under := c.conn.Unacknowledged()
	before := c.taken
	c.taken = int64(out) - under
	return c.taken > before && c.Queued()+under > 0
}

// Expired looks after a connection that was silent, or is to end.
func (c *Conn) Expired(cc conn.Conn) {
	o := &c.service.options
	switch {
	case c.state >= leaving:
		switch {
		case c.takes():
			cc.SetTimer(int64(o.Pong))
		case c.state == leaving && c.Queued() == 0:
			// It has our close frame and does not say the same: TCP ends in order nevertheless.
			c.tell(ws.CodeAbnormal, "")
			c.end()
		default:
			c.give()
		}
	case c.flags&paused != 0 || o.Ping < 0:
		// Nothing can be heard, or is asked for: only a peer that takes nothing is noticed.
		if c.Queued() > 0 && !c.takes() {
			c.give()
			return
		}
		cc.SetTimer(c.patience())
	case c.pinged != 0 && c.heard <= c.pinged:
		if !c.takes() {
			c.give()
			return
		}
		cc.SetTimer(int64(o.Pong))
	default:
		c.pinged = 0
		if left := c.heard + int64(o.Ping) - cc.Now(); left > 0 {
			cc.SetTimer(left)
			return
		}
		c.takes()
		c.control(ws.Ping, nil)
		c.pinged = cc.Now()
		cc.SetTimer(int64(o.Pong))
	}
}

// give gives the connection up.
func (c *Conn) give() { c.conn.Abort(conn.ErrTimeout) }

// Stopped closes the connection.
func (c *Conn) Stopped(conn.Conn) { c.Close(ws.CodeGoingAway, "") }

// Closed is the end, here.
func (c *Conn) Closed(_ conn.Conn, why error) {
	code := ws.CodeAbnormal
	if why == conn.ErrMoved {
		code = ws.CodeRestart
	}
	c.state = closed
	c.decoder.Discard()
	c.extra = nil
	c.load.Add(gone)
	c.tell(code, "")
}
