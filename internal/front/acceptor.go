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
	mostQueued  = 1024                   // connections that wait for one worker, those under way included
	fullTime    = 100 * time.Millisecond // how long a worker that gave something back is given nothing
	stuckTime   = time.Second            // without an answer, from when on a worker is given nothing more
	acceptPause = 100 * time.Millisecond // when something ran out
	logPause    = 10 * time.Second       // between two lines of a pressure that comes and goes
)

// Worker is a process that takes connections.
type Worker struct {
	// ID tells it from all others that ever were.
	ID uint64
	// Channel leads to Receive in the worker; it belongs to the Acceptor from Join on.
	Channel *proc.Channel
	// Shown may be nil: the worker has those that it was given.
	Shown Shown
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
	ending    bool // closed, and nothing is accepted any more

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
	raw  syscall.RawConn
	left bool // under Acceptor.mu
	done chan struct{}
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
	l := &listener{name: name, file: os.NewFile(uintptr(own), name), done: make(chan struct{})}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.listeners[name] != nil {
		_ = l.file.Close()
		return fmt.Errorf("listener %s: it is served already, or nothing is any more", name)
	}
	a.listeners[name] = l
	go a.accept(l)
	return nil
}

// Leave accepts no more at a listener, but what its backlog holds. What was accepted goes to workers.
func (a *Acceptor) Leave(name string) {
	a.mu.Lock()
	l := a.listeners[name]
	delete(a.listeners, name)
	a.mu.Unlock()
	if l != nil {
		a.leave(l)
	}
}

func (a *Acceptor) leave(l *listener) {
	a.mu.Lock()
	l.left = true
	a.room.Broadcast()
	a.mu.Unlock()
	_ = l.file.SetReadDeadline(time.Unix(1, 0)) // long ago: who waits at it looks up
	<-l.done
}

// accept takes what comes, while somebody has room for it, and in the end what the kernel has accepted already: those
// clients are connected and know nothing of the end.
func (a *Acceptor) accept(l *listener) {
	defer close(l.done)
	defer func() { _ = l.file.Close() }()
	defer func() { _ = l.raw.Control(func(fd uintptr) { a.emptyBacklog(l, int(fd)) }) }()
	for a.awaitRoom(l) {
		var fd int
		var err error
		ended := l.raw.Read(func(from uintptr) bool {
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

func (a *Acceptor) emptyBacklog(l *listener, from int) {
	for {
		fd, err := sys.Accept(from)
		if err != nil {
			return
		}
		a.place(arrival{fd, l.name})
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
	if a.ending {
		a.finish()
	}
	a.room.Broadcast()
}

// finish lets the workers go when all is closed, and nobody waits for one.
func (a *Acceptor) finish() {
	for len(a.workers) > 0 && len(a.homeless) == 0 {
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
	a.mu.Unlock()
	for _, l := range left {
		a.leave(l)
	}
	a.mu.Lock()
	a.ending = true
	a.finish()
	a.mu.Unlock()
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
