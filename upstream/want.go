package upstream

import (
	"slices"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/pool"
)

// Waiter is told what came of a Want, once for each Acquire that is not cancelled, on the agent's thread.
type Waiter interface {
	// Granted brings an open link.
	Granted(l *Link)
	// Denied says that there is none: ErrNoEndpoint, ErrQueueFull, ErrQueueTimeout, ErrClosed, a *NameError (which is
	// ErrNoEndpoint), a *DialError (which may hold ErrConnectTimeout) or a *PortsError (which is ErrNoPorts).
	Denied(err error)
}

// Want asks for a link. It is kept by what needs the link, so that asking allocates nothing, and may be used again
// after it was answered or cancelled. Its fields must not be changed while it waits.
type Want struct {
	// Key chooses the endpoint where the policy is consistent hashing.
	Key uint64
	// Handler gets the callbacks of the link's connection while it is leased, and Owner becomes Link.Owner.
	Handler conn.Handler
	Owner   any
	// Waiter is told the answer.
	Waiter Waiter
	// Prefer, if set, is taken if it is available, whatever the policy says.
	Prefer *Endpoint
	// Fresh asks for a new connection; Look for a look at a pooled one, however short it was idle, which costs a
	// system call.
	Fresh, Look bool

	attempts  uint8 // endpoints dialled since Acquire
	queued    bool
	tried     [maxTried]*Endpoint
	link      *Link // that is being dialled or borrowed for it
	next, prv *Want // in the queue
	since     int64 // when it began to queue
}

// maxTried is how many tried endpoints a want remembers; the earliest is forgotten first.
const maxTried = 3

// Tried has the endpoint passed over by later Acquires of this want, as long as there are others. Endpoints that did
// not accept a connection for it are added by the agent.
func (w *Want) Tried(e *Endpoint) {
	if !w.hasTried(e) {
		copy(w.tried[1:], w.tried[:])
		w.tried[0] = e
	}
}

// Forget clears what Tried said, for the next use of the want.
func (w *Want) Forget() { w.tried = [maxTried]*Endpoint{} }

func (w *Want) hasTried(e *Endpoint) bool { return slices.Contains(w.tried[:], e) }

// queue is the wants that wait, in the order they came.
type queue struct {
	first, last *Want
	length      int
}

func (q *queue) push(w *Want) {
	w.queued, w.prv, w.next = true, q.last, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.length++
}

// putBack puts the one that was taken last where it was.
func (q *queue) putBack(w *Want) {
	w.queued, w.prv, w.next = true, nil, q.first
	if q.first != nil {
		q.first.prv = w
	} else {
		q.last = w
	}
	q.first = w
	q.length++
}

func (q *queue) remove(w *Want) {
	if w.prv != nil {
		w.prv.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prv = w.prv
	} else {
		q.last = w.prv
	}
	w.queued, w.prv, w.next = false, nil, nil
	q.length--
}

// Link is a connection to an endpoint. It is what Attached returns of its connection, and must stay that.
type Link struct {
	// Conn is the connection, and Endpoint where it leads.
	Conn     conn.Conn
	Endpoint *Endpoint
	// Owner is the Want's while the link is leased. It may be changed.
	Owner any

	share   *share
	handler conn.Handler // while leased
	want    *Want        // while dialled or borrowed: for whom; nil: for the pool
	handle  pool.Handle  // while idle
	born    uint32       // milliseconds, as the thread's time
	since   uint32       // of the last release
	source  uint8        // of Endpoint.targets
	phase   phase
	flags   linkFlags
	// Reused says that the link has been released before. Such a connection may turn out to be dead.
	Reused bool
}

// phase is where a link is in its life. It goes to and fro between idle and leased, and else only forward.
type phase uint8

const (
	dialling  phase = iota // being made, for want or for the pool
	borrowing              // to come from another thread, for want
	idle                   // in the pool
	leased                 // granted, not yet released
	moving                 // on its way to another thread
	leaving                // being closed
	gone                   // closed
)

// linkFlags are facts beside the phase.
type linkFlags uint8

const (
	holdsPlace linkFlags = 1 << iota // counted in Endpoint.open
	holdsPort                        // counted in its gauge
	countsBusy                       // counted in Endpoint.busy
	endedFirst                       // the endpoint has sent its last byte
	hasHeard                         // bytes have come since it was granted
)

// LinkOf returns the link of a connection that an agent made, or nil.
func LinkOf(c conn.Conn) *Link {
	l, _ := c.Attached().(*Link)
	return l
}

// Age and idle time in milliseconds; the clock wraps, ages do not get that long.
func (l *Link) age(now uint32) uint32     { return now - l.born }
func (l *Link) idleFor(now uint32) uint32 { return now - l.since }

// milliseconds is the time of a thread as links keep it.
func milliseconds(now int64) uint32 { return uint32(now / 1e6) }

// setBusy counts the link as one that is in use.
func (l *Link) setBusy() {
	if l.flags&countsBusy == 0 {
		l.flags |= countsBusy
		l.Endpoint.busy.Add(1)
	}
}

func (l *Link) clearBusy() {
	if l.flags&countsBusy != 0 {
		l.flags &^= countsBusy
		l.Endpoint.busy.Add(-1)
	}
}

// vacate gives up the link's place among the connections of its endpoint. The port is kept until it is closed.
func (l *Link) vacate() {
	l.clearBusy()
	if l.flags&holdsPlace != 0 {
		l.flags &^= holdsPlace
		l.share.links--
		l.share.agent.loose = true
		l.Endpoint.open.Add(-1)
		if l.share.links == 0 && l.Endpoint.status.Load()&statusGone != 0 {
			l.share.agent.poke() // the share has no more use
		}
	}
}

// givePort gives up its port.
func (l *Link) givePort(now int64, lingering bool) {
	if l.flags&holdsPort != 0 {
		l.flags &^= holdsPort
		l.Endpoint.gauges[l.source].give(now, lingering)
	}
}

// Outcome is how a use of an endpoint went.
type Outcome uint8

// The outcomes.
const (
	Success Outcome = iota // the endpoint did what it should
	Failure                // it broke the connection, did not answer in time, or answered that it cannot
)
