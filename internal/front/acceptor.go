package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	mostQueued   = 1024                   // connections that wait for one worker, those under way included
	fullTime     = 100 * time.Millisecond // how long a worker that gave something back is given nothing
	stuckTime    = time.Second            // without an answer, from when on a worker is given nothing more
	acceptPause  = 100 * time.Millisecond // when something ran out
	logPause     = 10 * time.Second       // between two lines of a pressure that comes and goes
	glanceAtMost = 10 * time.Millisecond  // how old what a worker has shown may be
)

// Worker is a process that takes connections.
type Worker struct {
	// ID tells it from all others that ever were.
	ID uint64
	// Channel leads to Receive in the worker; it belongs to the Acceptor from Join on.
	Channel *proc.Channel
	// Shown gives how many connections the worker has, as it said last, and when it said so, on any clock. Nil: nobody
	// knows, and it has those that it was given.
	Shown func() (open int64, at time.Duration)
}

// Options are what an Acceptor is made of.
type Options struct {
	// Policy places; round robin if it is nil.
	Policy balance.Policy
	Log    *slog.Logger
}

// Acceptor accepts for workers. Its methods are for any goroutine.
type Acceptor struct {
	policy balance.Policy
	log    *slog.Logger

	mu        sync.Mutex
	room      *sync.Cond // somebody may be given something, or nobody ever will
	workers   []*worker  // that are given something
	leaving   map[*worker]bool
	picker    balance.Picker
	listeners map[string]*listener
	homeless  []arrival // nobody has room for them
	logged    time.Time
	recheck   *time.Timer
	closed    bool

	group sync.WaitGroup
}

// arrival is an accepted connection that no worker has taken yet, with its listener's name.
type arrival struct {
	fd int
	at string
}

// listener is a listening socket that is accepted from.
type listener struct {
	name string
	file *os.File
	left bool // under Acceptor.mu
}

// New makes an acceptor without listeners and workers. It must be closed.
func New(o Options) *Acceptor {
	if o.Policy == nil {
		o.Policy = balance.RoundRobin{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Acceptor{
		policy: o.Policy, log: o.Log, leaving: map[*worker]bool{}, listeners: map[string]*listener{},
	}
	a.room = sync.NewCond(&a.mu)
	a.recheck = time.AfterFunc(time.Hour, a.look)
	a.recheck.Stop()
	a.build()
	return a
}

// Listen accepts at a listening socket, non-blocking, which stays the caller's: its own descriptor may be closed at any
// time. The name is what the workers call the listener.
func (a *Acceptor) Listen(name string, fd int) error {
	own, err := sys.Duplicate(fd)
	if err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	l := &listener{name: name, file: os.NewFile(uintptr(own), name)}
	raw, err := l.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.listeners[name] != nil {
		_ = l.file.Close()
		return fmt.Errorf("listener %s: it is served already, or nothing is any more", name)
	}
	a.listeners[name] = l
	a.group.Go(func() { a.accept(l, raw.Read) })
	return nil
}

// Leave accepts no more at a listener. What has been accepted goes to workers; the backlog stays in the socket.
func (a *Acceptor) Leave(name string) {
	a.mu.Lock()
	l := a.listeners[name]
	delete(a.listeners, name)
	if l != nil {
		l.left = true
	}
	a.room.Broadcast()
	a.mu.Unlock()
	if l != nil {
		_ = l.file.Close()
	}
}

// accept takes what comes, while somebody has room for it. attempt calls a function with the descriptor until it is
// true, and waits for the poller in between.
func (a *Acceptor) accept(l *listener, attempt func(func(fd uintptr) bool) error) {
	for a.awaitRoom(l) {
		var fd int
		var err error
		ended := attempt(func(from uintptr) bool {
			fd, err = sys.Accept(int(from))
			return !errors.Is(err, syscall.EAGAIN)
		})
		switch {
		case ended != nil: // it was left
			return
		case err == nil:
			a.place(arrival{fd, l.name})
		case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPROTO), errors.Is(err, syscall.EPERM):
			// of one connection, which is gone
		default:
			a.complain(l, err)
			time.Sleep(acceptPause) // what ran out comes back when somebody else lets go of it, and nobody tells
		}
	}
}

// awaitRoom returns when some worker has room; false: the listener was left.
func (a *Acceptor) awaitRoom(l *listener) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !l.left && !a.closed && !a.roomy() {
		a.room.Wait()
	}
	return !l.left && !a.closed
}

// roomy reports that somebody has room, and that nobody waits for it.
func (a *Acceptor) roomy() bool {
	if len(a.homeless) > 0 {
		return false
	}
	for _, w := range a.workers {
		if w.takes() {
			return true
		}
	}
	return false
}

// place gives a connection to a worker.
func (a *Acceptor) place(c arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(c)
}

// settle is place, under mu.
func (a *Acceptor) settle(c arrival) {
	if i := a.picker.Pick(0, func(i int) bool { return a.workers[i].takes() }); i >= 0 {
		a.workers[i].give(c)
		return
	}
	a.homeless = append(a.homeless, c)
	a.recheck.Reset(fullTime)
}

// look gives those that nobody had room for to whoever has some now, and has accepting go on.
func (a *Acceptor) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookAgain()
}

// lookAgain is look, under mu.
func (a *Acceptor) lookAgain() {
	waiting := a.homeless
	a.homeless = nil
	for _, c := range waiting {
		a.settle(c)
	}
	a.finish()
	a.room.Broadcast()
}

// finish lets the workers go when all is closed, and nobody waits for one.
func (a *Acceptor) finish() {
	for a.closed && len(a.workers) > 0 && len(a.homeless) == 0 {
		a.retire(a.workers[0])
	}
}

// build makes the picker anew, as there are other workers now.
func (a *Acceptor) build() {
	members := make([]balance.Member, len(a.workers))
	for i, w := range a.workers {
		members[i] = balance.Member{Name: fmt.Sprint(w.ID), Load: w.load}
	}
	a.picker = a.policy.Build(members)
}

// complain tells why accepting pauses.
func (a *Acceptor) complain(l *listener, err error) {
	a.mu.Lock()
	silent := time.Since(a.logged) < logPause
	if !silent {
		a.logged = time.Now()
	}
	a.mu.Unlock()
	if !silent {
		a.log.Warn("accepting is paused", "listener", l.name, "cause", err, "mend", listen.AcceptMend(err))
	}
}

// Close accepts no more, and waits until the workers have what was accepted or ctx ends. What nobody has taken then is
// reset. The workers' channels are closed.
func (a *Acceptor) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	left := a.listeners
	a.listeners = map[string]*listener{}
	for _, l := range left {
		l.left = true
	}
	a.finish()
	a.room.Broadcast()
	a.mu.Unlock()
	for _, l := range left {
		_ = l.file.Close()
	}
	stop := context.AfterFunc(ctx, a.abandon)
	defer stop()
	a.group.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	lost := len(a.homeless)
	for _, c := range a.homeless {
		_ = sys.Close(c.fd)
	}
	a.homeless = nil
	a.recheck.Stop()
	if lost > 0 {
		return fmt.Errorf("front: no worker took %d connections", lost)
	}
	return nil
}

// abandon waits for nobody any more.
func (a *Acceptor) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		w.Channel.Close()
	}
	for w := range a.leaving {
		w.Channel.Close()
	}
}
