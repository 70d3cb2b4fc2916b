package loop

import (
	"context"
	"errors"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// errEnded is the answer of a loop that has ended.
var errEnded = errors.New("loop: it has ended")

// aside is what belongs to a slot and no request looks at: it lies apart, so that a slot stays one cache line.
type aside struct {
	gen    uint32 // which connection of the slot it is
	opened uint32 // moment
	ring   uint32 // place of its last events plus one, or zero
}

func (l *Loop) aside(index uint32) *aside {
	return &l.asides[index/slotsPerChunk][index%slotsPerChunk]
}

// List copies records of the next connections. The loop is asked once for each call, and goes on with its work in
// between: it gives the list a slice of each turn, so that whoever is active waits no longer than that.
func (l *Loop) List(ctx context.Context, from uint32, dst []conn.Record, ask conn.Ask) (n int, next uint32, err error) {
	dst, next = dst[:min(len(dst), conn.ListMost)], from
	err = l.walk(ctx, func(until int64) bool {
		k, on := l.list(next, dst[n:], ask, until)
		n, next = n+k, on
		return next == 0 || n == len(dst)
	})
	if err != nil {
		return 0, 0, err
	}
	return n, next, nil
}

// sliceTime is how long a turn looks at connections for somebody who does not belong to them.
const sliceTime = 20 * time.Microsecond

// walk runs step on the loop's thread, in one turn after another until it says that it is done, and waits for that. A
// step ends at the time that it is given, however far it has come.
func (l *Loop) walk(ctx context.Context, step func(until int64) bool) error {
	done := make(chan struct{})
	var turn func()
	turn = func() {
		if ctx.Err() != nil {
			return // nobody waits for it any more
		}
		now, _ := l.clock()
		if step(now + int64(sliceTime)) {
			close(done)
			return
		}
		l.again(turn)
	}
	return l.attend(ctx, turn, done)
}

// again runs f in the next turn; for the loop's own thread, which needs not be woken.
func (l *Loop) again(f func()) {
	l.mu.Lock()
	l.posts = append(l.posts, post{on: f})
	l.knocks.Store(true)
	l.mu.Unlock()
}

// ask runs f on the loop's thread and waits until it has.
func (l *Loop) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	return l.attend(ctx, func() { f(); close(done) }, done)
}

// attend runs f on the loop's thread and waits for done.
func (l *Loop) attend(ctx context.Context, f func(), done <-chan struct{}) error {
	if !l.Do(f) {
		return errEnded
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.gone: // what it was asked last it may not have come to
		return errEnded
	}
}

// atOnce is how many records are copied between two looks at the clock.
const atOnce = 16

// list copies records until there is no room for more, there are no more, or it is late.
func (l *Loop) list(from uint32, dst []conn.Record, ask conn.Ask, until int64) (n int, next uint32) {
	for from < l.made {
		end := min(l.made, from+uint32(min(atOnce, len(dst)-n)))
		first := n
		for ; from < end; from++ {
			if c := l.at(from); c.state < conn.Closed {
				l.describe(c, &dst[n])
				n++
			}
		}
		if ask != 0 {
			l.look(dst[first:n], ask)
		}
		if n == len(dst) {
			break
		}
		if now, _ := l.clock(); now >= until {
			break
		}
	}
	if from >= l.made {
		from = 0
	}
	return n, from
}

// describe copies what there is to know of a connection.
func (l *Loop) describe(c *connection, r *conn.Record) {
	at := func(moment uint32) time.Duration { return time.Duration(l.moment()-moment) << momentShift }
	*r = conn.Record{
		ID: c.ID(), Worker: int(l.number), Listener: l.listeners[c.listener].number, State: c.state,
		Idle: c.flags&flagIdle != 0, Paused: c.flags&flagPaused != 0,
		Age: at(l.aside(c.index).opened), Quiet: at(c.since),
		In: c.bytesIn, Out: c.bytesOut, Queued: c.Queued(), Requests: c.requests,
	}
	if l.listeners[c.listener].dials {
		r.Listener = -1
	}
	if c.attached != 0 {
		_, r.Switched = c.Attached().(conn.Handler)
	}
}

// lender is a driver for which it is dear to lend ordinary descriptors one by one. It fills ordinary, with negative
// numbers where there is none.
type lender interface {
	Descriptors(fds, ordinary []int) (done func())
}

// look asks the kernel about connections that were described, at most as many as atOnce.
func (l *Loop) look(records []conn.Record, ask conn.Ask) {
	var fds, ordinary, of [atOnce]int
	dear, lends := l.driver.(lender)
	n := 0
	for i := range records {
		c := l.known(records[i].ID)
		if c == nil || c.fd < 0 || c.flags&flagClosing != 0 {
			continue
		}
		if lends {
			fds[n], of[n] = int(c.fd), i
			n++
		} else if fd, done, err := l.driver.Descriptor(int(c.fd)); err == nil {
			records[i].Look(fd, ask)
			done()
		}
	}
	if n == 0 {
		return
	}
	done := dear.Descriptors(fds[:n], ordinary[:n])
	for i, fd := range ordinary[:n] {
		if fd >= 0 {
			records[of[i]].Look(fd, ask)
		}
	}
	done()
}

// Find copies records of connections by ID.
func (l *Loop) Find(ctx context.Context, ids []uint64, dst []conn.Record, ask conn.Ask,
	describe func(c conn.Conn, at int),
) (n int, err error) {
	err = l.walk(ctx, func(until int64) bool {
		for len(ids) > 0 && n < len(dst) {
			c := l.known(ids[0])
			if ids = ids[1:]; c == nil {
				continue
			}
			if l.describe(c, &dst[n]); ask != 0 {
				l.look(dst[n:n+1], ask)
			}
			if describe != nil && c.state < conn.Closing {
				describe(c, n)
			}
			n++
			if now, _ := l.clock(); now >= until {
				break
			}
		}
		return len(ids) == 0 || n == len(dst)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// known is find, and for connections that are being closed too.
func (l *Loop) known(id uint64) *connection {
	index := uint32(id & maxSlots)
	if index >= l.made {
		return nil
	}
	if c := l.at(index); c.ID() == id && c.state < conn.Closed {
		return c
	}
	return nil
}

// End aborts a connection.
func (l *Loop) End(id uint64, why error) bool {
	if uint8(id>>56) != l.number {
		return false
	}
	return l.Post(id, func(c conn.Conn) { c.Abort(why) })
}

// Ended copies records of connections that have ended lately.
func (l *Loop) Ended(ctx context.Context) (all []conn.Record, err error) {
	if err := l.ask(ctx, func() { all = l.memory.Recall() }); err != nil {
		return nil, err
	}
	return all, nil
}

// witness is the handler of connections that are over. It remembers the end, and passes it on.
type witness struct {
	conn.Defaults
	loop *Loop
}

// Received is not called: there is nothing to be received any more.
func (w *witness) Received(_ conn.Conn, in []byte) int { return len(in) }

// Closed remembers the connection, and tells its own handler.
func (w *witness) Closed(c conn.Conn, why error) {
	l, own := w.loop, c.(*connection)
	if why != conn.ErrMoved {
		l.describe(own, &l.parting)
		l.parting.Why, l.parting.Ended = why, l.wall
		if seen, noted := l.partings[own.index]; noted {
			l.parting.Local, l.parting.Remote = seen.Local, seen.Remote
		}
		l.memory.Keep(&l.parting)
		l.recordEnd(own)
	}
	delete(l.partings, own.index)
	l.listeners[own.listener].handler.Closed(c, why)
}

// note asks for the addresses of a connection that ends, as long as it has a descriptor. The kernel has forgotten those
// of one that its peer has reset.
func (l *Loop) note(c *connection) {
	if c.flags&flagClosing != 0 {
		return
	}
	if _, noted := l.partings[c.index]; noted {
		return
	}
	w := l.has(c)
	orderly := w == nil || w.why == nil
	if orderly && !l.courtesy.extended(l.moment()) || !orderly && w.why == conn.ErrMoved {
		return
	}
	var r [1]conn.Record
	l.describe(c, &r[0])
	l.look(r[:], conn.AskAddresses)
	l.partings[c.index] = r[0]
}

// courtesy bounds what is asked about connections that end in order: a few are worth a system call to whoever looks at
// the last ones, and where thousands end in a second none is.
type courtesy struct {
	moment uint32
	given  int
}

// courtesies is how many connections that end in order have their addresses remembered in a moment of some 67 ms.
const courtesies = 8

func (k *courtesy) extended(moment uint32) bool {
	if k.moment != moment {
		k.moment, k.given = moment, 0
	}
	k.given++
	return k.given <= courtesies
}
