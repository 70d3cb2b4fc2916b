package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
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
	patient bool // Crowded is set, or one thread serves all
	begin   func(*listening)
	place   func(Arrival)

	accepting sync.WaitGroup
	alone     bool                        // one thread accepts and serves
	doorstep  atomic.Pointer[[]sys.Await] // then: what tells that it has changed, and the listening sockets
	stopBell  int                         // eventfds that stay readable once the site stops, and once the drain is over
	killBell  int
	deadline  atomic.Int64 // when the drain is over, by clock; zero before the stop
	killed    atomic.Bool
	open      atomic.Int64
	running   sync.WaitGroup // all goroutines but those of the model

	steers    sync.Mutex // around Listen, Leave, Succeed and the stop
	halted    chan struct{}
	making    sync.Mutex // around Listener.Handler and Listener.Datagram
	mu        sync.Mutex // for what follows
	listeners []*listening
	waiting   []Arrival // for the one thread that serves all
	seats     []*connection
	room      chan struct{} // closed when a connection ends
	memory    conn.Memory
	failed    error
	logged    time.Time
	halt      context.CancelFunc
}

// Arrival is a connection that was accepted and has not been served yet.
type Arrival struct {
	fd int
	at *listening
}

// NewBlocking prepares to serve a site under the name of a model. Nothing is opened yet.
func NewBlocking(s *Site, model string, w Waits) (*Blocking, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	b := &Blocking{
		site: s, limits: s.Limits, model: model, waits: w, log: s.Log, meter: new(meter.Set), start: time.Now(),
		blocks: newBlocks(s.Limits.BlockBytes, s.Limits.Blocks), stopBell: -1, killBell: -1,
		room: make(chan struct{}), halted: make(chan struct{}),
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
// each accepted connection, from one goroutine for each listener and from any that has
// a connection arrive; place has [Blocking.Serve] called, on whatever thread of control
// the model gives it, and may wait until there is one: as long as it waits, its listener
// accepts nothing.
func (b *Blocking) Run(ctx context.Context, place func(Arrival)) error {
	b.place = place
	return b.run(ctx, func() {
		b.accepting.Wait()
	}, func(l *listening) {
		b.accepting.Go(func() { b.accept(l, place) })
	})
}

// RunAlone serves on the calling goroutine alone, one connection at a time.
func (b *Blocking) RunAlone(ctx context.Context) error {
	b.alone = true
	return b.run(ctx, b.acceptAlone, func(*listening) { b.newDoorstep() })
}

// run does what Run and RunAlone have in common around accepting. begin has a listener accepted from.
func (b *Blocking) run(ctx context.Context, accept func(), begin func(*listening)) error {
	b.patient, b.begin = b.Crowded != nil || b.alone, begin
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
	for _, l := range b.all() {
		b.launch(l)
	}
	if b.site.Steer != nil {
		b.site.Steer(b)
	}
	if b.site.Ready != nil {
		b.site.Ready()
	}
	accept()
	<-ctx.Done() // a site of datagrams alone has nothing to accept
	<-b.halted   // what began to listen at the last moment is known from here on
	b.accepting.Wait()
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
	if b.alone {
		bell, err := sys.Eventfd()
		if err != nil {
			return err
		}
		b.doorstep.Store(&[]sys.Await{{FD: int32(bell), Want: sys.Readable}})
	}
	for i := range b.site.Listeners {
		if _, err := b.openOne(&b.site.Listeners[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *Blocking) closeAll() {
	for _, l := range b.all() {
		l.close()
		_ = sys.Close(l.bell)
	}
	if d := b.doorstep.Load(); d != nil {
		_ = sys.Close(int((*d)[0].FD))
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

// direct has the site stopped when ctx ends, and what is left aborted when the drain is over.
func (b *Blocking) direct(ctx context.Context, over <-chan struct{}) {
	<-ctx.Done()
	b.steers.Lock()
	b.deadline.Store(b.clock() + int64(b.limits.Drain))
	b.steers.Unlock()
	close(b.halted)
	_ = sys.Notify(b.stopBell)
	for _, l := range b.all() {
		l.ring()
	}
	b.wakeAll(nil)
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
	b.wakeAll(nil)
	<-over
}

// wakeAll has every connection look up, or those of one listener. Threads are woken by the bells.
func (b *Blocking) wakeAll(of *listening) {
	if b.waits == OnThread {
		return
	}
	b.mu.Lock()
	seats := append([]*connection(nil), b.seats...)
	b.mu.Unlock()
	for _, c := range seats {
		if of == nil || c.at == of {
			c.wake()
		}
	}
}

// Serve serves a connection to its end, on the calling goroutine. For models that wait
// on the thread the goroutine must be locked to it, or else the runtime may have to find
// another thread for it after every wait.
func (b *Blocking) Serve(a Arrival) {
	c := b.seat(a.at)
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
	c.tellAt, c.timer, c.linger, c.received, c.sent, c.requests = 0, 0, 0, 0, 0, 0
	c.fresh.Store(true)
	c.mu.Lock()
	c.id, c.face = c.number, face{fd: fd, state: conn.Open, opened: c.site.clock(), happened: c.site.clock()}
	c.mu.Unlock()
}

// seat finds or makes a seat at a listener.
func (b *Blocking) seat(l *listening) *connection {
	b.mu.Lock()
	if n := len(l.free); n > 0 {
		c := l.free[n-1]
		l.free = l.free[:n-1]
		b.mu.Unlock()
		return c
	}
	b.mu.Unlock()
	b.making.Lock()
	c := &connection{site: b, at: l, life: l.life, handler: l.handler(), fd: -1}
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
	at := c.at
	b.mu.Lock()
	if c.life == at.life {
		at.free = append(at.free, c)
	} else {
		b.dismiss(c)
	}
	b.open.Add(-1)
	close(b.room)
	b.room = make(chan struct{})
	b.mu.Unlock()
	at.depart()
}

// crowded reports whether connections wait for this one to end.
func (b *Blocking) crowded() bool {
	if b.Crowded != nil {
		return b.Crowded()
	}
	if !b.alone {
		return false
	}
	b.mu.Lock()
	waiting := len(b.waiting) > 0
	b.mu.Unlock()
	if waiting {
		return true
	}
	list := slices.Clone((*b.doorstep.Load())[1:])
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
