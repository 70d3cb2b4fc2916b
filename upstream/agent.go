package upstream

import (
	"errors"
	"sync/atomic"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/pool"
)

// Agent is a group on one thread of control, and the handler of every connection it makes. Its methods are for that
// thread only.
type Agent struct {
	group  *Group
	dialer conn.Dialer
	number int
	links  *pool.Pool[*Endpoint, *Link]
	shares []*share // of the endpoints it has had to do with
	known  *set     // that the shares were made for

	queue   queue
	oldest  atomic.Int64 // since when the first of the queue waits, plus one; 0: nobody waits
	serving bool         // within serve
	loose   bool         // a place has become free since others were told
	borrows []*Link      // asked of other agents, oldest first

	pick   picking
	accept func(member int) bool // accepts pick's endpoints; made once

	poked atomic.Bool
	armed int64 // when tick is called; 0: it is not
	stop  func()
	tally tally
}

// share is what one agent has of one endpoint. Others read the atomics.
type share struct {
	_        [64]byte // its own cache lines
	agent    *Agent
	endpoint *Endpoint
	shelf    *pool.Shelf[*Link]
	dials    []*Link // being made, oldest first
	links    int     // that hold a place

	warmAt    int64 // when connections may be made again before they are needed
	warmDelay int64

	idle    atomic.Int32  // links on the shelf
	coldest atomic.Uint32 // since when the one at the bottom is idle, in milliseconds
	asked   atomic.Int32  // links that others have asked for
	_       [64]byte
}

func newAgent(g *Group, d conn.Dialer) *Agent {
	a := &Agent{group: g, dialer: d, number: d.Number()}
	a.links = pool.New[*Endpoint, *Link](min(g.options.Pool.MaxIdle, g.options.Pool.Total), g.options.Pool.Total)
	a.accept = func(member int) bool { return a.take(a.pick.set.endpoints[member]) }
	return a
}

// Group is the agent's group.
func (a *Agent) Group() *Group { return a.group }

// Dialer is that of the agent's thread.
func (a *Agent) Dialer() conn.Dialer { return a.dialer }

// shareOf is the agent's share of an endpoint.
func (a *Agent) shareOf(e *Endpoint) *share {
	s := e.shares[a.number].Load()
	if s == nil || s.agent != a {
		s = &share{agent: a, endpoint: e, shelf: a.links.Shelf(e), warmDelay: int64(firstWarmDelay)}
		e.shares[a.number].Store(s)
		a.shares = append(a.shares, s)
	}
	return s
}

// Acquire asks for a link. The waiter of the want is told, maybe before Acquire returns. Nobody overtakes those who
// wait in the agent's queue.
func (a *Agent) Acquire(w *Want) {
	w.attempts = 0
	if a.queue.length > 0 {
		a.serve()
	}
	if a.queue.length > 0 || !a.place(w, nil, false) {
		a.enqueue(w)
	}
}

// Cancel takes a want back that was not answered. It does nothing to one that was.
func (a *Agent) Cancel(w *Want) {
	if w.queued {
		a.unqueue(w)
	} else if l := w.link; l != nil {
		w.link, l.want = nil, nil // what is on its way will do for the next
		l.clearBusy()
		if a.group.options.Pool.Off {
			l.Conn.Abort(conn.ErrAborted)
		}
	} else {
		return
	}
	a.tally.add(Cancelled)
}

// Release gives a leased link back: to be used again, or to be closed when what is queued has been sent. Reusable
// promises that everything received has been used, that nothing more is to come, and that what may still be queued ends
// a message. A timer that is set is cleared, and reading goes on if it was paused.
func (a *Agent) Release(l *Link, reusable bool) {
	if l.phase != leased || l.share.agent != a {
		return
	}
	l.handler, l.Owner = nil, nil
	c := l.Conn
	if !reusable || !a.mayKeep(l) {
		a.leave(l)
		a.freed()
		return
	}
	c.SetTimer(0)
	c.Resume()
	l.Reused = true
	a.offer(l)
}

// mayKeep reports that the link is good for another use.
func (a *Agent) mayKeep(l *Link) bool {
	const unusable = statusDown | statusGone
	return l.flags&endedFirst == 0 && !a.group.options.Pool.Off && l.Endpoint.status.Load()&unusable == 0 &&
		l.Conn.State() == conn.Open && !a.dialer.Stopping() &&
		l.age(milliseconds(a.dialer.Now())) < uint32(a.group.options.Pool.MaxAge.Milliseconds())
}

// offer gives a link that is free to whoever waits longest, and else keeps it.
func (a *Agent) offer(l *Link) {
	if a.group.waiting.Load() > 0 && a.passOn(l) {
		return
	}
	for _, other := range l.share.dials {
		if w := other.want; w != nil && !w.Fresh && !w.Look {
			other.want = nil // its connection will do for the next
			other.clearBusy()
			a.grant(l, w)
			return
		}
	}
	a.keep(l)
}

// Report says how a use of an endpoint went. Connections that could not be made are reported by the agent itself.
func (a *Agent) Report(e *Endpoint, o Outcome) {
	if o == Success {
		e.went(a.dialer.Now())
	} else {
		e.wentWrong(a.dialer.Now(), Fault{})
	}
}

// Blame reports a failure, and how it came about: the log tells of the last one when the endpoint is left out for it.
func (a *Agent) Blame(e *Endpoint, how Fault) { e.wentWrong(a.dialer.Now(), how) }

// Choose returns an endpoint that is available for what is not a stream, such as datagrams; it counts as one of the
// endpoint's connections until Unchoose. The want's Handler and Waiter are not used. The error is ErrNoEndpoint (or a
// *NameError), ErrQueueFull if every endpoint has as many connections as it may, or ErrClosed.
func (a *Agent) Choose(w *Want) (*Endpoint, error) {
	if a.group.closed.Load() {
		return nil, a.denied(ErrClosed)
	}
	if a.find(w, picking{only: true}) {
		a.pick.endpoint.busy.Add(1)
		a.tally.add(Acquired)
		return a.pick.endpoint, nil
	}
	if a.pick.full {
		return nil, a.denied(ErrQueueFull)
	}
	return nil, a.denied(a.pick.why())
}

// Unchoose ends the use that Choose began.
func (a *Agent) Unchoose(e *Endpoint) {
	e.busy.Add(-1)
	e.open.Add(-1)
	a.loose = true
	a.freed()
}

// grant leases a link to a want.
func (a *Agent) grant(l *Link, w *Want) {
	w.link = nil
	l.phase, l.want, l.handler, l.Owner = leased, nil, w.Handler, w.Owner
	l.flags &^= hasHeard
	l.setBusy()
	a.tally.add(Acquired)
	if l.Reused {
		a.tally.add(Reused)
	}
	w.Waiter.Granted(l)
}

// deny tells a want that there is no link.
func (a *Agent) deny(w *Want, why error) { w.Waiter.Denied(a.denied(why)) }

// denied counts a denial by its cause.
func (a *Agent) denied(why error) error {
	counter := DeniedDial
	switch {
	case errors.Is(why, ErrNoEndpoint):
		counter = DeniedNoEndpoint
	case why == ErrQueueFull:
		counter = DeniedQueueFull
	case why == ErrQueueTimeout:
		counter = DeniedQueueTimeout
	case why == ErrClosed:
		counter = DeniedClosed
	case errors.Is(why, ErrConnectTimeout):
		counter = DeniedConnectTimeout
	case errors.Is(why, ErrNoPorts):
		counter = DeniedNoPorts
	}
	a.tally.add(counter)
	return why
}
