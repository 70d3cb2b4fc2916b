package web

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// A connection goes on in another process while it waits for a request, also when some of its head has come: those
// bytes come again there, and the time for the rest of them goes on. What was handed over with Exchange.Switch goes if
// it is an Upgraded; the other process finds who goes on with it by its name. An exchange that has begun ends where it
// began, which is the next chance to leave.

var _ conn.Portable = (*handler)(nil)

// stateVersion is that of the state of a connection.
const stateVersion = 1

// What a connection waits for, in its state.
const (
	waitsForRequest  byte = iota
	waitsForHead          // some of which has come
	waitsForUpgraded      // it speaks another protocol
)

// mostNameBytes is the longest name of an upgrade.
const mostNameBytes = 1 << 10

// Upgraded is a handler that Exchange.Switch was given, besides, whose connections may go on in another process. Leaves
// and Pack are those of conn.Portable.
type Upgraded interface {
	conn.Handler
	Leaves(c conn.Conn) (mate conn.Conn, ok bool)
	Pack(c conn.Conn, state []byte) (packed []byte, ok bool)
	// Upgrade is the name that a Resumer of the other process knows it by, up to 1 KiB.
	Upgrade() string
}

// Resumer is a Handler besides that goes on with connections which a handler of its kind has switched in another
// process. The Root of the server is asked, and hands on what it does not know itself.
type Resumer interface {
	// Resume is conn.Portable.Unpack for an upgrade. What it returns is attached to the connection in the place of what
	// Switch was given there. The error is ErrUpgrade if the name is not known.
	Resume(r *Resumption) (Upgraded, error)
}

// Resumption is a connection that was switched in another process, for Resumer.Resume.
type Resumption struct {
	Conn conn.Conn
	// Upgrade is the name, and State what Upgraded.Pack has appended. Both are only lent, and nothing of them may be
	// believed.
	Upgrade, State []byte
	// Mate is as for conn.Portable.Unpack.
	Mate func(h conn.Handler, v any) conn.Conn
}

// ErrUpgrade is why a connection is not taken over: it was switched by a handler that is not there.
var ErrUpgrade = errors.New("web: nobody here goes on with what the connection was switched to")

// Resuming is a Handler with those that go on with what it has switched, for one that is no Resumer itself, such as a
// function that hands some requests to a service.
type Resuming struct {
	Handler
	By []Resumer
}

// Resume asks one after the other.
func (h Resuming) Resume(r *Resumption) (Upgraded, error) {
	for _, one := range h.By {
		if v, err := one.Resume(r); !errors.Is(err, ErrUpgrade) {
			return v, err
		}
	}
	return nil, ErrUpgrade
}

// Leaves reports that no exchange is under way.
func (h *handler) Leaves(c conn.Conn) (mate conn.Conn, ok bool) {
	switch x, taken := exchangeOf(c); {
	case taken != nil:
		if u, portable := taken.(Upgraded); portable {
			return u.Leaves(c)
		}
		return nil, false
	case x == nil:
		return nil, c.State() == conn.Open
	default:
		return nil, x.mayLeave()
	}
}

// mayLeave reports that some of a head is all that has come.
func (x *Exchange) mayLeave() bool {
	return x.reading == inHead && len(x.pending) == 0 && x.answering == unanswered && x.fate == keep && !x.held &&
		!x.ended && x.c.State() == conn.Open
}

// Pack tells what the connection waits for.
func (h *handler) Pack(c conn.Conn, state []byte) (packed []byte, ok bool) {
	if _, ok = h.Leaves(c); !ok {
		return state, false
	}
	x, taken := exchangeOf(c)
	if taken != nil {
		u := taken.(Upgraded)
		packed = conn.AppendText(append(state, stateVersion, waitsForUpgraded), u.Upgrade())
		if packed, ok = u.Pack(c, packed); !ok {
			return state, false
		}
		return packed, true
	}
	waits, elapsed := waitsForRequest, int64(0)
	t, _ := c.Attached().(*tally)
	if x != nil {
		waits, elapsed, t = waitsForHead, c.Now()-x.began, x.tally
	}
	requests := 0
	if t != nil {
		requests = t.requests
	}
	state = conn.AppendNumber(append(state, stateVersion, waits), uint64(requests))
	if x != nil {
		state = conn.AppendElapsed(state, elapsed)
	}
	return state, true
}

// Unpack goes on to wait. The time for silence between requests begins anew: nobody remembers when it began.
func (h *handler) Unpack(c conn.Conn, state []byte, mate func(h conn.Handler, v any) conn.Conn) error {
	r := conn.ReadState(state, stateVersion)
	waits := r.Byte()
	if waits == waitsForUpgraded {
		return h.resume(c, &r, mate)
	}
	requests, elapsed := r.Number(uncounted), int64(0)
	if waits == waitsForHead {
		elapsed = r.Elapsed()
	}
	if err := r.End(); err != nil {
		return err
	}
	if waits > waitsForHead {
		return conn.ErrState
	}
	rules := h.current()
	if rules.limits.Requests < uncounted && requests > 0 {
		c.Attach(&tally{int(requests)})
	}
	if waits == waitsForRequest {
		h.Opened(c)
		return nil
	}
	x := h.take(c)
	x.reading, x.heard = inHead, c.Now()
	x.began = x.heard - min(elapsed, int64(max(rules.timeouts.Head, time.Millisecond)))
	h.attach(x)
	x.arm()
	return nil
}

// resume has somebody go on with a connection that was switched.
func (h *handler) resume(c conn.Conn, r *conn.StateReader, mate func(h conn.Handler, v any) conn.Conn) error {
	again := Resumption{Conn: c, Upgrade: r.Text(mostNameBytes), State: r.Rest(), Mate: mate}
	if err := r.End(); err != nil {
		return err
	}
	root, resumes := h.current().server.Root.(Resumer)
	if !resumes {
		return ErrUpgrade
	}
	v, err := root.Resume(&again)
	if err != nil {
		return err
	}
	c.Attach(v)
	return nil
}
