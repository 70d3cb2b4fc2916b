package webtest

import (
	"slices"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// Dialer is a conn.Dialer whose connections lead to the test.
type Dialer struct {
	// Conns are the connections that were dialled, and Targets where to.
	Conns   []*Conn
	Targets []*conn.Target
	// Held keeps what is dialled from being made until Open is called.
	Held bool
	// Stuck is what Conn.Stuck is at first.
	Stuck bool
	// Refuse, if set, is why what is dialled cannot be made.
	Refuse error
	// Tickers are what Every was called with and has not been stopped.
	Tickers []*func()

	now   int64
	posts []func()
}

// Number is 3.
func (d *Dialer) Number() int { return 3 }

// Now is what Advance has made of it.
func (d *Dialer) Now() int64 { return d.now }

// Dial makes a connection, which is open after the next Turn.
func (d *Dialer) Dial(t *conn.Target, h conn.Handler, v any) conn.Conn {
	c := &Conn{handler: h, attached: v, now: d.now, Dials: d, Stuck: d.Stuck}
	d.Conns, d.Targets = append(d.Conns, c), append(d.Targets, t)
	refuse := d.Refuse
	if refuse != nil {
		c.Abort(refuse)
	}
	if !d.Held || refuse != nil {
		d.posts = append(d.posts, c.Open)
	}
	return c
}

// Open makes a connection that was dialled, if it has not ended before.
func (c *Conn) Open() {
	if c.state == conn.Opening {
		c.state = conn.Open
		c.handler.Opened(c)
	}
	c.Turn()
}

// OpenDatagrams cannot be done.
func (d *Dialer) OpenDatagrams(*conn.Target, conn.DatagramHandler) (conn.Datagrams, error) {
	panic("no datagrams in a test of the web")
}

// Every keeps f in Tickers.
func (d *Dialer) Every(_ time.Duration, f func()) (stop func()) {
	p := &f
	d.Tickers = append(d.Tickers, p)
	return func() {
		for i := range d.Tickers {
			if d.Tickers[i] == p {
				d.Tickers = append(d.Tickers[:i], d.Tickers[i+1:]...)
				return
			}
		}
	}
}

// Do runs f in the next Turn.
func (d *Dialer) Do(f func()) bool {
	d.posts = append(d.posts, f)
	return true
}

// Stopping is false.
func (d *Dialer) Stopping() bool { return false }

// Turn makes what was dialled, runs what was posted, and lets a turn end on every connection, until nothing happens.
func (d *Dialer) Turn() {
	for {
		posts := d.posts
		d.posts = nil
		for _, f := range posts {
			f()
		}
		for i := 0; i < len(d.Conns); i++ {
			if c := d.Conns[i]; c.state != conn.Opening && c.state != conn.Closed {
				c.Turn()
			}
		}
		if len(d.posts) == 0 {
			return
		}
	}
}

// Advance moves time, on every connection that was dialled and is not closed, and calls what Every was given once.
func (d *Dialer) Advance(by time.Duration) {
	d.now += int64(by)
	for _, f := range slices.Clone(d.Tickers) {
		(*f)()
	}
	for i := 0; i < len(d.Conns); i++ {
		if c := d.Conns[i]; c.state != conn.Closed {
			c.Advance(by)
		}
	}
	d.Turn()
}
