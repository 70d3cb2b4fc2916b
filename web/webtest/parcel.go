package webtest

import (
	"bytes"

	"github.com/myriad-server/myriad/conn"
)

// Depart has the connection, and its mate, leave for another process, as serving models do. Nil: they stay, because the
// handler does not let them, or because what is queued is stuck.
func (c *Conn) Depart() *conn.Parcel {
	portable, can := c.handler.(conn.Portable)
	if !can || c.state != conn.Open {
		return nil
	}
	mate, leaves := portable.Leaves(c)
	other, _ := mate.(*Conn)
	if !leaves || c.queued > 0 || other != nil && other.queued > 0 {
		return nil
	}
	state, packed := portable.Pack(c, nil)
	if !packed {
		return nil
	}
	p := c.parcel()
	p.State = state
	if other != nil {
		p.Mate = other.parcel()
	}
	for _, end := range []*Conn{c, other} {
		if end != nil {
			end.state, end.Why = conn.Closing, conn.ErrMoved
			end.finish()
		}
	}
	return p
}

// parcel is the connection itself. Its descriptor is none.
func (c *Conn) parcel() *conn.Parcel {
	return &conn.Parcel{
		FD: -1, In: c.came, Out: c.left, Idle: c.Idle, Ended: c.ended, Final: c.Last, Unread: bytes.Clone(c.rest),
	}
}

// Arrive goes on with a connection of another process, whose thread has the dialer d, which its mate is added to. After
// an error what was made of both is closed with conn.ErrMoved, and the connection is returned for a look at it.
func Arrive(h conn.Handler, p *conn.Parcel, d *Dialer) (*Conn, error) {
	c := arrived(h, p, d)
	if d != nil {
		c.Dials = d
	}
	var mate *Conn
	var dialled func(h conn.Handler, v any) conn.Conn
	if p.Mate != nil {
		dialled = func(h conn.Handler, v any) conn.Conn {
			mate = arrived(h, p.Mate, d)
			mate.Dials, mate.attached = d, v
			d.Conns = append(d.Conns, mate)
			return mate
		}
	}
	if err := h.(conn.Portable).Unpack(c, p.State, dialled); err != nil {
		for _, end := range []*Conn{c, mate} {
			if end != nil {
				end.state, end.Why = conn.Closing, conn.ErrMoved
				end.finish()
			}
		}
		return c, err
	}
	for _, end := range []*Conn{c, mate} {
		if end != nil {
			end.begin()
		}
	}
	return c, nil
}

// arrived is one connection of a parcel.
func arrived(h conn.Handler, p *conn.Parcel, d *Dialer) *Conn {
	c := &Conn{
		handler: h, state: conn.Open, came: p.In, left: p.Out, Idle: p.Idle, Last: p.Final, ended: p.Ended,
		rest: bytes.Clone(p.Unread),
	}
	if d != nil {
		c.now = d.now
	}
	return c
}

// begin delivers what was unread, and the end if it had come.
func (c *Conn) begin() {
	c.feed()
	if c.ended && !c.Paused && c.state == conn.Open {
		c.handler.Ended(c)
	}
	c.Turn()
}
