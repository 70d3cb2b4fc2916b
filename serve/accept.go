package serve

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	acceptPause = 100 * time.Millisecond // when something ran out and nothing could be closed
	shedAtOnce  = 32
	logPause    = 10 * time.Second // between two lines of a pressure that comes and goes
)

// accept takes what comes at one listener until the site stops, then what the kernel has queued at that moment.
func (b *Blocking) accept(l *listening, place func(Arrival)) {
	defer b.lockThread()()
	defer l.close()
	var fd int
	var err error
	attempt := func(from uintptr) bool {
		if b.open.Load() >= int64(b.limits.Connections) {
			err = listen.ErrLimit
			return sys.IsReady(int(from), sys.Readable) // nobody is closed before somebody comes
		}
		fd, err = sys.Accept(int(from))
		return !errors.Is(err, syscall.EAGAIN)
	}
	for !l.stopping() {
		if !l.post.await(attempt) {
			continue
		}
		if err == nil {
			b.admit(fd, l, place)
		} else if !b.overcome(l, err) {
			return
		}
	}
	b.emptyBacklog(l, place)
}

// admit counts a connection in, and has the model find somebody to serve it.
func (b *Blocking) admit(fd int, l *listening, place func(Arrival)) {
	b.open.Add(1)
	b.enter(fd, l, place)
}

// enter is admit for a connection that counts as open already.
func (b *Blocking) enter(fd int, l *listening, place func(Arrival)) {
	b.meter.AddShared(meter.Accepted, 1)
	b.meter.AddShared(meter.Open, 1)
	l.users.Add(1)
	place(Arrival{fd: fd, at: l})
}

// emptyBacklog takes what the kernel has accepted already, as far as the limits allow: those clients are connected
// and know nothing of the stop.
func (b *Blocking) emptyBacklog(l *listening, place func(Arrival)) {
	for b.open.Load() < int64(b.limits.Connections) {
		fd, err := sys.Accept(l.post.fd)
		if err != nil {
			return
		}
		b.admit(fd, l, place)
	}
}

// acceptAlone accepts at all listeners and serves on the same thread.
func (b *Blocking) acceptAlone() {
	defer b.lockThread()()
	place := func(a Arrival) { b.Serve(a) }
	for !b.stopping() {
		doorstep := *b.doorstep.Load()
		list := append(slices.Clone(doorstep), sys.Await{FD: int32(b.stopBell), Want: sys.Readable})
		if _, err := sys.AwaitAny(list, -1); err != nil {
			b.fail(err)
			return
		}
		if list[0].Found != 0 {
			sys.Quiet(int(list[0].FD))
		}
		b.serveWaiting()
		for _, l := range b.all() {
			if l.Handler == nil || l.closed.Load() || b.stopping() {
				continue
			}
			if l.stopping() {
				b.emptyBacklog(l, place)
				l.close()
				continue
			}
			if l.post.fd < 0 {
				continue
			}
			fd, err := sys.Accept(l.post.fd)
			if err == nil {
				b.admit(fd, l, place)
			} else if !b.overcome(l, err) {
				return
			}
		}
	}
	for _, l := range b.all() {
		if l.Handler != nil && !l.closed.Load() {
			b.emptyBacklog(l, place)
			l.close()
		}
	}
	b.serveWaiting()
}

// serveWaiting serves what has arrived from other processes.
func (b *Blocking) serveWaiting() {
	for {
		a, some := b.takeWaiting()
		if !some {
			return
		}
		b.Serve(a)
	}
}

// overcome acts on an error of accept(2), and reports whether accepting can go on.
func (b *Blocking) overcome(l *listening, err error) bool {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPROTO),
		errors.Is(err, syscall.EPERM): // of one connection, which is gone
		return true
	case errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EFAULT):
		b.fail(fmt.Errorf("accept at %s: %w", l.Name, err))
		return false
	}
	b.press(err)
	return true
}

// press closes the connections that have been idle for longest, and returns when one has ended, or else after a
// moment: what nothing here can mend must not make the acceptor spin.
func (b *Blocking) press(why error) {
	room := b.roomChannel()
	shed := b.Shed(shedAtOnce, 0)
	b.meter.AddShared(meter.AcceptPauses, 1)
	b.mu.Lock()
	silent := time.Since(b.logged) < logPause
	if !silent {
		b.logged = time.Now()
	}
	b.mu.Unlock()
	if !silent {
		b.log.Warn("accepting is paused", "model", b.model, "cause", why, "open", b.open.Load(), "idle_closed", shed,
			"mend", listen.AcceptMend(why))
	}
	b.awaitOn(room, acceptPause)
}

func (b *Blocking) roomChannel() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.room
}

// awaitRoom returns when a connection has ended, or else after d.
func (b *Blocking) awaitRoom(d time.Duration) {
	room := b.roomChannel()
	if b.open.Load() > 0 {
		b.awaitOn(room, d)
	}
}

func (b *Blocking) awaitOn(room <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-room:
	case <-timer.C:
	}
}

// freshTime is how long a connection from which nothing has come is not idle.
const freshTime = time.Second

// Shed closes up to n connections that have been idle for longest, at least for the given time, and returns how many.
// It looks at every seat: the price is paid under pressure, so that keeping an order costs no exchange anything.
func (b *Blocking) Shed(n int, idle time.Duration) int {
	type candidate struct {
		c     *connection
		since int64
	}
	latest := b.clock() - int64(idle)
	var found []candidate
	b.mu.Lock()
	for _, c := range b.seats {
		since := c.idle.Load()
		if c.fresh.Load() && since > b.clock()-int64(freshTime) {
			continue // its request is on the way
		}
		if since > 0 && since <= latest {
			found = append(found, candidate{c, since})
		}
	}
	b.mu.Unlock()
	slices.SortFunc(found, func(x, y candidate) int { return int(max(-1, min(1, x.since-y.since))) })
	shed := 0
	for _, f := range found[:min(n, len(found))] {
		if f.c.drop(f.since) {
			shed++
		}
	}
	b.meter.AddShared(meter.Shed, int64(shed))
	return shed
}

var _ conn.Conn = (*connection)(nil)
