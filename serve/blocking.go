package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/sys"
)

// Waits says how the threads of control of a [Blocking] wait.
type Waits uint8

// The two ways to wait.
const (
	// OnThread blocks an operating system's thread, in ppoll(2).
	OnThread Waits = iota
	// OnRuntime leaves the wait to Go's own poller; a goroutine waits.
	OnRuntime
)

// Blocking serves a site with one thread of control for each connection. It is what the
// models single, thread, goroutine and workpool share; a model adds who runs
// [Blocking.Serve] for an [Arrival].
//
// A connection's thread of control waits, receives, calls the handler and sends, all in
// one loop. Memory is taken when bytes have come and given back when they are gone, so
// that an idle connection costs its stack and nothing else.
type Blocking struct {
	site   *Site
	limits Limits
	model  string
	waits  Waits
	log    *slog.Logger
	meter  *meter.Set
	start  time.Time
	blocks *blocks

	// Crowded, if set before Run, tells whether connections wait for others to end. One that has been idle for a
	// moment then makes room.
	Crowded func() bool
	patient bool // Crowded is set, or there is a doorstep

	listeners []*listening
	doorstep  []sys.Await // the listening sockets, for the model that has nobody else to look at them
	stopBell  int         // eventfds that stay readable once the site stops, and once the drain is over
	killBell  int
	deadline  atomic.Int64 // when the drain is over, by clock; zero before the stop
	killed    atomic.Bool
	open      atomic.Int64
	running   sync.WaitGroup // all goroutines but those of the model

	making sync.Mutex // around Listener.Handler and Listener.Datagram
	mu     sync.Mutex // for what follows
	seats  []*connection
	free   [][]*connection // by listener
	room   chan struct{}   // closed when a connection ends
	memory conn.Memory
	failed error
	logged time.Time
	halt   context.CancelFunc
}

// listening is one listener that is being served.
type listening struct {
	*Listener
	index int
	post  *post
	once  sync.Once
}

// Arrival is a connection that was accepted and has not been served yet.
type Arrival struct {
	fd       int
	listener int
}

// NewBlocking prepares to serve a site under the name of a model. Nothing is opened yet.
func NewBlocking(s *Site, model string, w Waits) (*Blocking, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	b := &Blocking{
		site: s, limits: s.Limits, model: model, waits: w, log: s.Log, meter: new(meter.Set), start: time.Now(),
		blocks: newBlocks(s.Limits.BlockBytes, s.Limits.Blocks), stopBell: -1, killBell: -1,
		free: make([][]*connection, len(s.Listeners)), room: make(chan struct{}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	return b, nil
}

// clock is the time in monotonic nanoseconds since the start, never zero.
func (b *Blocking) clock() int64 { return int64(time.Since(b.start)) + 1 }

func (b *Blocking) stopping() bool { return b.deadline.Load() != 0 }

// Run serves until ctx is done and the last connection has ended. It calls place for
// each accepted connection, from one goroutine for each listener; place has
// [Blocking.Serve] called, on whatever thread of control the model gives it, and may
// wait until there is one: as long as it waits, its listener accepts nothing.
func (b *Blocking) Run(ctx context.Context, place func(Arrival)) error {
	return b.run(ctx, func() {
		var accepting sync.WaitGroup
		for _, l := range b.listeners {
			if l.Handler != nil {
				accepting.Go(func() { b.accept(l, place) })
			}
		}
		accepting.Wait()
	})
}

// RunAlone serves on the calling goroutine alone, one connection at a time.
func (b *Blocking) RunAlone(ctx context.Context) error {
	return b.run(ctx, func() {
		b.patient = true
		for _, l := range b.listeners {
			if l.Handler != nil {
				b.doorstep = append(b.doorstep, sys.Await{FD: int32(l.post.fd), Want: sys.Readable})
			}
		}
		b.acceptAlone()
	})
}

// run does what Run and RunAlone have in common around accepting.
func (b *Blocking) run(ctx context.Context, accept func()) error {
	b.patient = b.Crowded != nil
	if err := b.openAll(); err != nil {
		b.closeAll()
		return fmt.Errorf("serve/%s: %w", b.model, err)
	}
	if b.site.Meter != nil {
		b.site.Meter(0, b.meter)
	}
	if b.site.Roster != nil {
		b.site.Roster(0, b)
	}
	ctx, halt := context.WithCancel(ctx)
	b.halt = halt
	over := make(chan struct{})
	var director sync.WaitGroup
	director.Go(func() { b.direct(ctx, over) })
	for _, l := range b.listeners {
		if l.Datagram != nil {
			b.running.Go(func() { b.receiveDatagrams(l) })
		}
	}
	if b.site.Ready != nil {
		b.site.Ready()
	}
	accept()
	<-ctx.Done() // a site of datagrams alone has nothing to accept
	for b.open.Load() > 0 {
		b.awaitRoom(time.Hour)
	}
	close(over)
	halt()
	director.Wait()
	b.running.Wait()
	b.closeAll()
	return b.failed
}

func (b *Blocking) openAll() (err error) {
	if b.stopBell, err = sys.Eventfd(); err != nil {
		return err
	}
	if b.killBell, err = sys.Eventfd(); err != nil {
		return err
	}
	for i := range b.site.Listeners {
		l := &listening{Listener: &b.site.Listeners[i], index: i}
		fd, err := l.Open(0)
		if err != nil {
			return err
		}
		if l.post, err = b.newPost(fd); err != nil {
			return err
		}
		b.listeners = append(b.listeners, l)
	}
	return nil
}

func (b *Blocking) closeAll() {
	for _, l := range b.listeners {
		l.close()
	}
	for _, c := range b.seats {
		if g, ok := c.gate.(*threadGate); ok {
			g.discard()
		}
	}
	for _, fd := range []int{b.stopBell, b.killBell} {
		if fd >= 0 {
			_ = sys.Close(fd)
		}
	}
}

// close closes the listening descriptor, once, and says so.
func (l *listening) close() {
	l.once.Do(func() {
		l.post.close()
		if l.Closed != nil {
			l.Closed(0)
		}
	})
}

// direct has the site stopped when ctx ends, and what is left aborted when the drain is over.
func (b *Blocking) direct(ctx context.Context, over <-chan struct{}) {
	<-ctx.Done()
	b.deadline.Store(b.clock() + int64(b.limits.Drain))
	_ = sys.Notify(b.stopBell)
	for _, l := range b.listeners {
		l.post.stop()
	}
	b.wakeAll()
	drain := time.NewTimer(b.limits.Drain)
	defer drain.Stop()
	select {
	case <-over:
		return
	case <-drain.C:
	case <-b.site.Kill:
	}
	b.killed.Store(true)
	_ = sys.Notify(b.killBell)
	b.wakeAll()
	<-over
}

// wakeAll has every connection look up. Threads are woken by the bells.
func (b *Blocking) wakeAll() {
	if b.waits == OnThread {
		return
	}
	b.mu.Lock()
	seats := append([]*connection(nil), b.seats...)
	b.mu.Unlock()
	for _, c := range seats {
		c.wake()
	}
}

// Serve serves a connection to its end, on the calling goroutine. For models that wait
// on the thread the goroutine must be locked to it, or else the runtime may have to find
// another thread for it after every wait.
func (b *Blocking) Serve(a Arrival) {
	c := b.seat(a.listener)
	if err := c.gate.open(c, a.fd); err != nil {
		b.press(err)
		b.unseat(c)
		b.meter.AddShared(meter.Refused, 1)
		return
	}
	c.begin(a.fd)
	c.run()
	b.unseat(c)
}

// begin opens the door of the seat for a new connection.
func (c *connection) begin(fd int) {
	c.fd, c.number, c.state, c.flags = fd, nextID(), conn.Open, 0
	c.timer, c.linger, c.received, c.sent, c.requests = 0, 0, 0, 0, 0
	c.fresh.Store(true)
	c.mu.Lock()
	c.id, c.face = c.number, face{fd: fd, state: conn.Open, opened: c.site.clock(), happened: c.site.clock()}
	c.mu.Unlock()
}

// seat finds or makes a seat at a listener.
func (b *Blocking) seat(listener int) *connection {
	b.mu.Lock()
	if free := b.free[listener]; len(free) > 0 {
		c := free[len(free)-1]
		b.free[listener] = free[:len(free)-1]
		b.mu.Unlock()
		return c
	}
	b.mu.Unlock()
	b.making.Lock()
	c := &connection{site: b, listener: listener, handler: b.listeners[listener].Handler(), fd: -1}
	b.making.Unlock()
	if b.waits == OnThread {
		c.gate = &threadGate{site: b, bell: -1}
	} else {
		c.gate = newRuntimeGate(b, c)
	}
	b.mu.Lock()
	b.seats = append(b.seats, c)
	b.mu.Unlock()
	return c
}

// unseat gives the seat back, and tells those that wait for room.
func (b *Blocking) unseat(c *connection) {
	b.meter.AddShared(meter.Closed, 1)
	b.meter.AddShared(meter.Open, -1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free[c.listener] = append(b.free[c.listener], c)
	b.open.Add(-1)
	close(b.room)
	b.room = make(chan struct{})
}

// crowded reports whether connections wait for this one to end.
func (b *Blocking) crowded() bool {
	if b.Crowded != nil {
		return b.Crowded()
	}
	if len(b.doorstep) == 0 {
		return false
	}
	list := append([]sys.Await(nil), b.doorstep...)
	n, err := sys.AwaitAny(list, 0)
	return err == nil && n > 0
}

// fail ends the site with an error.
func (b *Blocking) fail(err error) {
	b.mu.Lock()
	b.failed = errors.Join(b.failed, fmt.Errorf("serve/%s: %w", b.model, err))
	b.mu.Unlock()
	b.halt()
}

// lockThread keeps a goroutine that blocks its thread on it.
func (b *Blocking) lockThread() (unlock func()) {
	if b.waits != OnThread {
		return func() {}
	}
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
