package webtest

import (
	"math"

	"github.com/myriad-server/myriad/conn"
)

// Traffic is what has come and what was sent.
func (c *Conn) Traffic() (in, out uint64) { return c.came, c.left }

// Room is what is left of Limit, or nothing if the connection is Crowded or was told that there will be no more.
func (c *Conn) Room() int64 {
	switch {
	case c.Crowded || c.Last || c.state != conn.Open:
		return 0
	case c.Limit == 0:
		return math.MaxInt64
	}
	return max(int64(c.Limit-len(c.out)), 0)
}

// Unacknowledged is Taken.
func (c *Conn) Unacknowledged() int64 { return c.Taken }

// Pipe reports false: there is no kernel to do it.
func (c *Conn) Pipe(conn.Conn) bool { return false }

// Alive reports that the connection is open and the peer has not ended it.
func (c *Conn) Alive() bool { return c.state == conn.Open && !c.ended }

// Watch is remembered in Watched.
func (c *Conn) Watch() { c.Watched = true }

// Undelivered is Lost, if Watch was called.
func (c *Conn) Undelivered() bool { return c.Watched && c.Lost }

// Dialer is Dials.
func (c *Conn) Dialer() conn.Dialer { return c.Dials }

// Move cannot be done.
func (c *Conn) Move(to conn.Dialer, _ conn.Handler, _ any, taken func(c conn.Conn)) {
	to.Do(func() { taken(nil) })
}

// CloseWrite is remembered in Last.
func (c *Conn) CloseWrite() { c.Last = true }
