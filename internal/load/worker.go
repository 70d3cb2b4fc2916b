package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/internal/wheel"
)

const (
	batchCompletions = 512
	blockBytes       = 16 << 10
	blocksMost       = 2048
	wheelTick        = time.Millisecond
	wheelBuckets     = 16384
	dialsMost        = 256                   // connections being made at a time
	dialPause        = 50 * time.Millisecond // before a connection that failed is made again
	fullPatience     = 2 * time.Millisecond  // until a driver that was full is asked again
	lazyPatience     = 20 * time.Millisecond // for a send whose success may be reported late
	graceSlack       = 10 * time.Millisecond // so that a request times out before it is given up
	commandPatience  = 20 * time.Millisecond // between two looks at the command
)

// phase is where a worker is in its run. It only moves forward.
type phase int32

const (
	phaseConnect phase = iota // connections are being made
	phaseReady                // all of them are, or were tried
	phaseRun                  // requests are begun
	phaseDrain                // no more are begun; answers are waited for
	phaseQuiet                // nothing is under way; connections are held
	phaseClose                // connections are being closed
	phaseOver
)

// worker is a loop of its own: a driver, a timer wheel and connections, on one thread. The loops of package loop serve
// handlers that queue output and may be called from anywhere; a client that sends the same bytes again and again, and
// binds its ports itself, needs none of that.
type worker struct {
	plan   *Plan
	number int
	speech speech
	places *places // where connections come from

	driver  driver.Driver
	blocks  *buf.Pool
	wheel   *wheel.Wheel
	clock   func() int64
	memory  []byte // what is sent, outside the heap
	address []byte // of the target
	family  int

	now         int64
	phase       phase
	completions []driver.Completion
	expired     []uint32
	clients     []client
	times       []int64 // Pipeline of each client: when its requests were due
	dirty       []uint32
	settled     []uint32
	queue       fifo // open loop: clients that can take a request
	toDial      fifo // connections of the beginning that are not begun
	dialling    int
	refused     bool
	awaited     int

	schedule *schedule
	backlog  *backlog
	quota    uint64 // requests that may be begun
	begin    int64  // of the run
	from     int64  // what is due from here on counts
	end      int64
	drained  int64 // when answers are waited for no longer
	flying   int   // requests

	tally    tally
	latency  *Histogram
	lag      *Histogram // how late requests were sent though a connection was free
	interval int64
	nextCut  int64
	current  *Sample
	samples  []*Sample
	busyFrom occupation
	busy     occupation

	command atomic.Int32 // the phase that the run is to be in, and the time it began
	beginAt atomic.Int64
	told    func(phase)
	live    live
	failed  error
}

// live is what others may read at any time; it is written at the end of each turn.
type live struct {
	begun, good, failed, dropped, answers, standing, made atomic.Int64
}

// openDriver opens the worker's driver on the calling thread, which must be locked.
func (w *worker) open(factory driver.Factory) error {
	n := len(w.clients)
	var err error
	if w.blocks, err = buf.NewPool(blockBytes, blocksMost, sys.Map); err != nil {
		return err
	}
	w.driver, err = factory.Open(driver.Options{Blocks: w.blocks, Ops: 4*n + 1024})
	if err != nil {
		return fmt.Errorf("the %s driver: %w", factory.Name, err)
	}
	return w.prepare()
}

// prepare makes everything but the driver.
func (w *worker) prepare() error {
	p := w.plan
	if w.clock == nil {
		start := time.Now()
		w.clock = func() int64 { return int64(time.Since(start)) }
	}
	w.now = w.clock()
	w.wheel = wheel.New(wheelTick, wheelBuckets, w.now)
	w.completions = make([]driver.Completion, batchCompletions)
	w.times = make([]int64, len(w.clients)*p.Pipeline)
	w.queue, w.toDial = newFIFO(len(w.clients)), newFIFO(len(w.clients))
	w.latency, w.lag = NewHistogram(), newHistogram(coarseBits)
	w.backlog = newBacklog(max(1, p.Backlog/p.Threads))
	w.tally.errors, w.tally.connect = map[string]uint64{}, NewHistogram()
	w.quota = ^uint64(0)
	if p.Requests > 0 {
		w.quota = p.Requests / uint64(p.Threads)
		if uint64(w.number) < p.Requests%uint64(p.Threads) {
			w.quota++
		}
	}
	if p.Open() {
		var random *rand.Rand
		if p.Arrivals == Poisson {
			random = rand.New(rand.NewPCG(p.Seed, uint64(w.number)))
		}
		w.schedule = newSchedule(p.Stages, w.number, p.Threads, random)
	}
	var err error
	if w.address, w.family, err = p.Target.raw(); err != nil {
		return err
	}
	for i := range w.clients {
		w.clients[i].index, w.clients[i].fd = uint32(i), -1
	}
	return w.speech.prepare(w)
}

// run is the worker's life, on its own thread.
func (w *worker) run(factory driver.Factory) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := w.open(factory); err != nil {
		w.failed = err
	} else {
		w.failed = w.turn()
		w.release()
	}
	w.move(phaseOver)
}

// release gives back what open took.
func (w *worker) release() {
	for i := range w.clients { // only after a failure of the driver there are any
		if fd := w.clients[i].fd; fd >= 0 {
			if ordinary, err := w.driver.Part(int(fd)); err == nil {
				_ = sys.Close(ordinary)
			}
		}
	}
	_ = w.driver.Close()
	if w.memory != nil {
		_ = sys.Unmap(w.memory)
	}
	if w.blocks.Lent() == 0 {
		_ = w.blocks.Free(sys.Unmap)
	}
}

// turn turns until the run is over.
func (w *worker) turn() error {
	w.connectAll()
	for w.phase < phaseOver {
		n, err := w.driver.Wait(w.completions, w.patience())
		if err != nil {
			return fmt.Errorf("the %s driver: %w", w.driver.Name(), err)
		}
		w.now = w.clock()
		w.cut()
		for i := range w.completions[:n] {
			w.complete(&w.completions[i])
		}
		w.expire()
		w.arrive() // before the end is seen, which the last of them may be due at
		w.advance()
		w.settle()
		w.publish()
	}
	return nil
}

// patience is how long the next Wait may wait.
func (w *worker) patience() time.Duration {
	if len(w.dirty) > 0 {
		return 0
	}
	d := commandPatience
	if next := w.wheel.Next(w.now); next >= 0 {
		d = min(d, next)
	}
	until := func(at int64) { d = min(d, time.Duration(max(0, at-w.now))) }
	switch w.phase {
	case phaseReady:
		if at := w.beginAt.Load(); at != 0 {
			until(at)
		}
	case phaseRun:
		if w.schedule != nil && w.schedule.next != ended {
			until(w.begin + w.schedule.next)
		}
		until(w.end)
	case phaseDrain:
		until(w.drained)
	}
	if w.refused {
		d = min(d, fullPatience)
	}
	if w.awaited > 0 {
		d = min(d, lazyPatience)
	}
	return d
}

// complete hands a completion to its connection.
func (w *worker) complete(done *driver.Completion) {
	c := &w.clients[done.User]
	switch done.Code {
	case driver.Recv, driver.RecvFrom:
		w.received(c, done)
	case driver.Send, driver.SendTo:
		w.sent(c, done)
	case driver.Connect:
		w.connected(c, done.Err)
	case driver.Close:
		c.fd = -1
		w.mark(c)
	}
}

func (w *worker) expire() {
	if w.wheel.Len() == 0 {
		return
	}
	w.expired = w.wheel.Expire(w.now, w.expired[:0])
	for _, index := range w.expired {
		w.expiredOne(&w.clients[index])
	}
}

// advance moves the run on.
func (w *worker) advance() {
	wanted := phase(w.command.Load())
	switch {
	case w.phase == phaseConnect:
		w.dialMore()
		if w.toDial.n == 0 && w.dialling == 0 {
			w.move(phaseReady)
		}
		fallthrough
	case w.phase == phaseReady:
		if wanted >= phaseDrain {
			w.move(phaseQuiet)
		} else if w.phase == phaseReady && wanted == phaseRun && w.now >= w.beginAt.Load() {
			w.start()
		}
	case w.phase == phaseRun && (w.now >= w.end || wanted >= phaseDrain || w.spent()):
		w.stop()
		fallthrough
	case w.phase == phaseDrain:
		if w.flying > 0 && w.now >= w.drained {
			w.giveUp()
		}
		if w.flying == 0 {
			w.move(phaseQuiet)
		}
	}
	if w.phase == phaseQuiet && wanted >= phaseClose {
		w.move(phaseClose)
		w.closeAll()
	}
	if w.phase == phaseClose && w.tally.open == 0 {
		w.move(phaseOver)
	}
}

// move tells that a phase has begun. The last one is told by run, when nothing is left.
func (w *worker) move(p phase) {
	if w.phase < phaseOver || p != phaseOver {
		w.phase = p
	}
	w.publish() // whoever is told looks
	if p != phaseOver && w.told != nil {
		w.told(p)
	}
}

// start begins the run.
func (w *worker) start() {
	p := w.plan
	w.move(phaseRun)
	w.begin = w.beginAt.Load()
	w.from = w.begin + int64(p.WarmUp)
	w.end = w.from + int64(p.Duration)
	w.interval = int64(intervalOf(p.Duration))
	w.nextCut = w.from
	w.busyFrom = occupied()
	joined := 0
	for i := range w.clients {
		c := &w.clients[i]
		c.flags &^= flagPausing
		switch {
		case c.kind == slow:
			w.beginSlow(c)
		case c.kind == active && p.RampUp > 0:
			at := w.begin + int64(p.RampUp)*int64(joined*p.Threads+w.number)/int64(max(1, p.Connections))
			joined++
			c.flags |= flagPausing
			w.wheel.Set(c.index, max(at, w.now+1))
		case c.kind == active:
			w.ready(c)
		}
	}
}

// spent reports that the run is over before its time: all requests that it may make are answered, so that the last
// answer falls into the measured time; or an open loop is at the end of its stages, which is later than its last
// arrival, and everything that was due is with a connection.
func (w *worker) spent() bool {
	if w.quota == 0 {
		return w.flying == 0
	}
	return w.schedule != nil && w.schedule.next == ended && w.backlog.n == 0 && w.now >= w.begin+w.schedule.length()
}

// stop ends the beginning of requests. What is due and found no connection in all that time has failed.
func (w *worker) stop() {
	now := occupied()
	w.busy = occupation{now.ran - w.busyFrom.ran, now.waited - w.busyFrom.waited}
	for due, ok := w.backlog.take(); ok; due, ok = w.backlog.take() {
		if due >= w.from {
			w.tally.left++
		}
	}
	w.end = min(w.end, w.now)
	grace := w.plan.Grace
	if grace == 0 {
		grace = w.plan.Timeout + graceSlack
	}
	w.drained = w.now + int64(grace)
	w.cutLast()
	w.move(phaseDrain)
}

// arrive takes the requests that have become due, and gives them to connections.
func (w *worker) arrive() {
	if w.schedule == nil || w.phase != phaseRun {
		return
	}
	for w.schedule.next != ended && w.begin+w.schedule.next <= w.now {
		due := w.begin + w.schedule.next
		if due > w.end {
			break
		}
		w.schedule.advance()
		if w.queue.n > 0 && w.backlog.n == 0 && due >= w.from {
			w.lag.Record(time.Duration(w.now - due))
		}
		if due >= w.from {
			w.tally.due++
		}
		if !w.backlog.put(due) && due >= w.from {
			w.tally.dropped++
		}
	}
	w.tally.longestBacklog = max(w.tally.longestBacklog, w.backlog.n)
	for w.queue.n > 0 && w.backlog.n > 0 && w.quota > 0 {
		c := &w.clients[w.queue.take()]
		c.flags &^= flagListed
		if !w.canTake(c) {
			continue
		}
		due, _ := w.backlog.take()
		w.give(c, due)
		w.list(c)
	}
}

// settle submits what the turn has brought about.
func (w *worker) settle() {
	w.refused = false
	marked := w.dirty
	w.dirty = w.settled[:0]
	for _, index := range marked {
		c := &w.clients[index]
		c.flags &^= flagMarked
		w.pump(c)
	}
	w.settled = marked
}

// mark has a connection looked at when the turn ends.
func (w *worker) mark(c *client) {
	if c.flags&flagMarked == 0 {
		c.flags |= flagMarked
		w.dirty = append(w.dirty, c.index)
	}
}

// later has a connection looked at again when the driver had no room.
func (w *worker) later(c *client, err error) {
	if !errors.Is(err, driver.ErrFull) {
		w.fail(c, causeOf("", err))
	}
	w.refused = true
	w.mark(c)
}

func (w *worker) publish() {
	t := &w.tally
	w.live.begun.Store(int64(t.begun))
	w.live.good.Store(int64(t.good))
	w.live.failed.Store(int64(t.failed))
	w.live.dropped.Store(int64(t.dropped))
	w.live.answers.Store(int64(t.answers))
	w.live.standing.Store(int64(t.standing))
	w.live.made.Store(int64(t.connected))
}

// fifo is a queue of clients, each of them in it once at most.
type fifo struct {
	items   []uint32
	head, n int
}

func newFIFO(most int) fifo { return fifo{items: make([]uint32, max(1, most))} }

func (f *fifo) put(index uint32) {
	i := f.head + f.n
	if i >= len(f.items) {
		i -= len(f.items)
	}
	f.items[i] = index
	f.n++
}

func (f *fifo) take() uint32 {
	index := f.items[f.head]
	if f.head++; f.head == len(f.items) {
		f.head = 0
	}
	f.n--
	return index
}
