package app

import (
	"net/netip"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// plain is what echo (RFC 862) and discard (RFC 863) share: a connection that has been silent for long is closed, one
// whose peer has ended is closed behind what is queued.
type plain struct {
	idle, write time.Duration
}

func (g *generation) plainHandler(handler func(p *plain) conn.Handler) func() conn.Handler {
	t := &g.plan.Config.Timeouts
	p := &plain{idle: time.Duration(t.Idle), write: time.Duration(t.Write)}
	return func() conn.Handler { return handler(p) }
}

// Opened begins the wait for bytes.
func (p *plain) Opened(c conn.Conn) {
	c.SetIdle(true)
	c.SetTimer(int64(p.idle))
}

// Ended sends what is queued, and closes.
func (p *plain) Ended(c conn.Conn) { p.drain(c) }

// Stopped does the same.
func (p *plain) Stopped(c conn.Conn) { p.drain(c) }

func (p *plain) drain(c conn.Conn) {
	c.SetTimer(int64(p.write))
	c.Drain()
}

// Closed has nothing to forget.
func (p *plain) Closed(conn.Conn, error) {}

// Expired ends a connection that is silent, or that took none of its bytes since the time was set.
func (p *plain) Expired(c conn.Conn) {
	if left := c.Queued(); left > 0 {
		before, watched := c.Attached().(int64)
		if watched && left >= before {
			c.Abort(conn.ErrTimeout)
			return
		}
		c.Attach(left)
		c.SetTimer(int64(p.write))
		return
	}
	p.drain(c)
}

// discardStream throws away what it receives.
type discardStream struct{ plain }

// Received takes everything.
func (d *discardStream) Received(c conn.Conn, in []byte) int {
	c.SetTimer(int64(d.idle))
	return len(in)
}

// Flushed has nothing to do: nothing is sent.
func (d *discardStream) Flushed(conn.Conn) {}

// echoStream sends back what it receives.
type echoStream struct{ plain }

// echoQueueBytes is how much may be queued for a peer that does not read before it is not read from either.
const echoQueueBytes = 256 << 10

// Received sends it all back, and stops reading when the peer does not take it.
func (e *echoStream) Received(c conn.Conn, in []byte) int {
	c.SetIdle(false)
	c.Write(in)
	if c.Queued() > echoQueueBytes {
		c.Pause()
		c.Attach(c.Queued())
		c.SetTimer(int64(e.write))
	} else {
		c.SetTimer(int64(e.idle))
	}
	return len(in)
}

// Flushed reads again.
func (e *echoStream) Flushed(c conn.Conn) {
	c.Attach(nil)
	c.Resume()
	c.SetIdle(true)
	if c.State() == conn.Open {
		c.SetTimer(int64(e.idle))
	}
}

// echo sends each datagram back.
type echo struct{}

// Datagram sends it back. One that finds the queue full is dropped, as the network may drop it.
func (echo) Datagram(d conn.Datagrams, from netip.AddrPort, p []byte) { d.SendTo(from, p) }

// discard throws datagrams away.
type discard struct{}

// Datagram does nothing with it.
func (discard) Datagram(conn.Datagrams, netip.AddrPort, []byte) {}
