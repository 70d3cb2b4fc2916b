// Package loop runs connections on one thread: a driver, a timer wheel and the
// connections, and one door for everybody else, the post queue.
//
// A turn waits for completions, acts on them, fires what has expired, runs what
// was posted, and at its end hands every connection's output to the driver in one
// batch. That order is the loop's policy: input before time, so that bytes which
// came just in time count; output last, so that everything a turn produced leaves
// together.
//
// The loop knows no concrete driver and no protocol.
package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/wheel"
)

const (
	batchCompletions = 512
	wheelTick        = 8 * time.Millisecond
	wheelBuckets     = 8192
	lingerTime       = 2 * time.Second        // after our FIN, for the peer's
	acceptPause      = 100 * time.Millisecond // when descriptors ran out and nothing could be shed
	lazyPatience     = 20 * time.Millisecond  // for a send whose success may be reported late
	stopsPerTurn     = 4096                   // connections told to stop in one turn
	fullPatience     = 2 * time.Millisecond   // until a driver that was full is asked again
	maxLoops         = MaxLoops
	none             = ^uint32(0)
)

// MaxLoops is how many loops one process can have at a time: a connection holds the number of its loop in eight bits,
// and so does its ID.
const MaxLoops = 256

// Options is what a loop is made of. All fields but Pipes, Place, Pressed, Clock, Recording and Log are required.
type Options struct {
	// Driver and Blocks belong to the loop from then on; Blocks is the pool the driver receives into.
	Driver driver.Driver
	Blocks *buf.Pool
	// Pipes belongs to the loop too; it is the pool that the driver splices through. Without it Conn.Pipe is false.
	Pipes *driver.Pipes
	// Meter is written by the loop alone.
	Meter *meter.Set
	// Connections is the largest number of open connections.
	Connections int
	// OutputBytes is what one connection may have queued, files not counted.
	OutputBytes int64
	// Place, if set, is given every accepted descriptor instead of the loop itself keeping it: it puts the
	// connection on some loop, and returns false if that was impossible.
	Place func(listener int, fd int) bool
	// Pressed, if set, is told that accepting paused because the kernel had no room. Other loops may then Shed.
	Pressed func()
	// Clock is the time: monotonic nanoseconds from any start, and Unix seconds. The real time if nil.
	Clock func() (monotonic, wall int64)
	// Recording is what is recorded of the connections; nothing if zero.
	Recording conn.Recording
	// Log gets a line when accepting pauses and resumes.
	Log *slog.Logger
}

// Loop runs connections. Its methods are for the thread that runs it, except Post, Do, Give, Shed and
// Stop.
type Loop struct {
	driver   driver.Driver
	blocks   *buf.Pool
	pipes    *driver.Pipes
	meter    *meter.Set
	wheel    *wheel.Wheel
	clock    func() (int64, int64)
	place    func(int, int) bool
	pressure func()
	log      *slog.Logger
	limit    int
	maxQueue int64
	number   uint8
	dials    *dialer

	now, wall   int64
	completions []driver.Completion
	came, done  int // of completions: what the last Wait brought, and how many were acted on
	expired     []uint32
	dirty       []uint32 // connections that pump looks at when the turn ends
	settled     []uint32 // the last turn's, for its memory
	hungry      []uint32 // connections whose receive found no block
	broad       []uint32 // connections that push, and are not received from before there are blocks
	denied      []uint32 // connections that Room had nothing for
	deaf        []uint32 // those of them for which the kernel takes nothing either
	asks        func()   // ends asking the kernel about them; nil: there are none
	guards      func()   // ends the look for those that stand still; nil: there is plenty of blocks
	refusals    []uint32 // connections whose operation the driver had no room for
	orphans     []int    // descriptors of no connection, to be closed

	chunks   []*[slotsPerChunk]connection
	asides   []*[slotsPerChunk]aside
	vacant   uint32 // head of the list of free slots, linked through connection.work
	made     uint32
	working  []*work
	resting  []uint32 // free indexes of working
	places   places   // of what is attached
	links    []*[slotsPerChunk]link
	routes   []*route // to be used again
	trims    func()   // ends the trimming of pipes; nil when there are none
	open     int
	idle     int // of open: idle connections
	shedding int // of open: idle connections that are being closed to make room
	awaited  int // connections that wait for a send that may be reported late

	listeners []*listener
	sockets   []*datagrams // nil where one was closed
	seats     []uint32     // their free places
	talkers   []*datagrams // sockets that have something to send when the turn ends
	talked    []*datagrams // the last turn's, for its memory
	stalled   []*datagrams // sockets that wait for room
	revival   func()       // ends that
	vectors   [][][]byte   // memory for SendMany
	tickers   []*ticker
	moves     []*move   // connections that are to go to another loop
	exodus    *exodus   // connections that are to go to another process; nil: none
	tickAt    int64     // when the first of them is due; zero: never
	attempts  []attempt // connects that are to be tried again
	redials   func()    // ends trying
	pressed   bool      // accepting is paused
	resumeAt  int64
	logged    int64 // when a pause was last logged
	starved   int64 // when a want of blocks was last logged

	runs     bool
	stopping bool
	stopNext uint32 // the next slot to be told
	killed   bool
	broken   error // what made the driver useless
	departed atomic.Int64

	memory   conn.Memory            // of connections that have ended
	parting  conn.Record            // memory for one
	partings map[uint32]conn.Record // addresses of those that are being closed
	courtesy courtesy
	witness  witness

	recording conn.Recording
	recorder  *recorder // nil: nothing is recorded
	prompt    int       // what was begun and done in this turn

	door
}

// door is the way in for other goroutines.
type door struct {
	mu     sync.Mutex
	posts  []post
	spare  []post
	knocks atomic.Bool // there is something behind the door
	shut   bool
	gone   chan struct{} // closed once nothing is taken in any more
}

type post struct {
	id uint64
	do func(c conn.Conn)
	on func()
}

// running finds the loop of a connection by number: a connection holds no Go pointer, so that the collector never
// looks at a million of them. Numbers are given by New and taken back when Run returns.
var (
	running   [maxLoops]*Loop
	runningMu sync.Mutex
)

// New makes a loop on the thread that will run it.
func New(o Options) (*Loop, error) {
	switch {
	case o.Driver == nil || o.Blocks == nil || o.Meter == nil:
		return nil, errors.New("loop: Driver, Blocks and Meter are required")
	case o.Connections <= 0 || o.Connections > maxSlots:
		return nil, fmt.Errorf("loop: Connections is %d; it must be 1 to %d", o.Connections, maxSlots)
	case o.OutputBytes <= 0:
		return nil, fmt.Errorf("loop: OutputBytes is %d; it must be positive", o.OutputBytes)
	}
	l := &Loop{
		driver: o.Driver, blocks: o.Blocks, pipes: o.Pipes, meter: o.Meter,
		place: o.Place, pressure: o.Pressed, log: o.Log, clock: o.Clock,
		limit: o.Connections, maxQueue: o.OutputBytes, vacant: none,
		completions: make([]driver.Completion, batchCompletions),
	}
	if l.clock == nil {
		l.clock = realClock()
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.record(o.Recording)
	l.now, l.wall = l.clock()
	l.dials = &dialer{l}
	l.witness.loop, l.partings, l.gone = l, make(map[uint32]conn.Record), make(chan struct{})
	l.wheel = wheel.New(wheelTick, wheelBuckets, l.now)
	runningMu.Lock()
	defer runningMu.Unlock()
	for i := range running {
		if running[i] == nil {
			running[i], l.number = l, uint8(i)
			return l, nil
		}
	}
	return nil, fmt.Errorf("loop: more than %d loops in one process", maxLoops)
}

// realClock reads the runtime's clock, which costs no system call. The time of day is read once in each of its seconds.
func realClock() func() (int64, int64) {
	start := time.Now()
	var day, next int64
	return func() (int64, int64) {
		now := int64(time.Since(start))
		if now >= next {
			t := time.Now()
			day, next = t.Unix(), now+int64(time.Second)-int64(t.Nanosecond())
		}
		return now, day
	}
}

// Run turns until the loop was stopped and its last connection is closed, or until the driver fails.
func (l *Loop) Run() error {
	defer l.leave()
	l.runs = true
	l.introduce()
	l.listen()
	for !l.finished() {
		n, err := l.driver.Wait(l.completions, l.patience())
		if err != nil {
			return fmt.Errorf("loop: %s driver: %w", l.driver.Name(), err)
		}
		l.now, l.wall = l.clock()
		began := l.now
		for l.came, l.done = n, 0; l.done < n; l.done++ {
			l.complete(&l.completions[l.done])
		}
		l.expire()
		l.tick()
		l.receivePosts()
		l.wind()
		l.settle()
		if l.broken != nil {
			return l.broken
		}
		l.account(n, began)
	}
	return nil
}

// patience is how long the next Wait may wait.
func (l *Loop) patience() time.Duration {
	if l.knocks.Load() || len(l.dirty) > 0 || len(l.orphans) > 0 || len(l.talkers) > 0 || l.winding() {
		return 0
	}
	d := l.wheel.Next(l.now)
	if l.pressed {
		if left := max(0, time.Duration(l.resumeAt-l.now)); d < 0 || left < d {
			d = left
		}
	}
	if next := l.nextTick(); next >= 0 && (d < 0 || next < d) {
		d = next
	}
	if len(l.refusals) > 0 && (d < 0 || d > fullPatience) {
		d = fullPatience
	}
	if l.awaited > 0 && (d < 0 || d > lazyPatience) {
		d = lazyPatience // a Wait that is over reports what is late
	}
	return d
}

// complete hands one completion to what it belongs to.
func (l *Loop) complete(c *driver.Completion) {
	if l.recorder != nil {
		l.recorder.saw(c)
	}
	switch c.Code {
	case driver.Recv, driver.SpliceIn:
		l.received(l.at(uint32(c.User)), c)
	case driver.Send, driver.SendFile:
		l.sent(l.at(uint32(c.User)), c)
	case driver.SpliceOut:
		l.pushed(l.at(uint32(c.User)), c)
	case driver.Connect:
		l.connected(l.at(uint32(c.User)), c)
	case driver.Accept:
		if l.accepted(l.listeners[c.User], c); l.exodus != nil {
			l.withdraw()
		}
	case driver.Shutdown:
		l.shutDown(l.at(uint32(c.User)))
	case driver.Close:
		if c.User != noOwner {
			l.closed(l.at(uint32(c.User)))
		}
	case driver.RecvFrom:
		l.sockets[c.User].received(c)
	case driver.SendTo, driver.SendMany:
		l.sockets[c.User].sent(c)
	}
}

// expire tells the connections whose time has come.
func (l *Loop) expire() {
	if l.wheel.Len() == 0 {
		return
	}
	l.expired = l.wheel.Expire(l.now, l.expired[:0])
	for _, index := range l.expired {
		c := l.at(index)
		if l.recorder != nil {
			l.recorder.timed(c)
		}
		switch c.state {
		case conn.Opening, conn.Open:
			l.handlerOf(c).Expired(c)
			l.mark(c)
		case conn.Draining:
			if l.busy(c) { // still sending: the write timeout of the handler
				l.handlerOf(c).Expired(c)
				l.mark(c)
			} else {
				l.end(c, nil) // the peer's FIN did not come in time
			}
		}
	}
}

// settle ends the turn: every connection that was touched gets its operations submitted.
func (l *Loop) settle() {
	if l.pressed && l.now >= l.resumeAt {
		l.relieve()
	}
	if l.starves() {
		l.share()
	}
	if len(l.orphans) > 0 {
		l.closeOrphans()
	}
	if len(l.talkers) > 0 {
		l.sendDatagrams()
	}
	for _, index := range l.refusals {
		l.mark(l.at(index))
	}
	l.refusals = l.refusals[:0]
	marked := l.dirty
	l.dirty = l.settled[:0]
	now := l.moment()
	for _, index := range marked {
		c := l.at(index)
		c.flags &^= flagMarked
		if c.flags&(flagIdle|flagPaused) == 0 {
			c.since = now
		}
		if c.state == conn.Closing {
			l.note(c)
		}
		if l.recorder != nil {
			l.recorder.look(c)
		}
		l.pump(c)
	}
	l.settled = marked
	if l.starves() {
		l.share() // the turn itself may have given blocks back, and no other may come
	}
	if l.guards == nil && l.scant() {
		l.guard()
	}
}

// account publishes the turn's counts.
func (l *Loop) account(completions int, began int64) {
	l.meter.Add(meter.Turns, 1)
	l.meter.Add(meter.Completions, int64(completions))
	if completions > 0 || l.prompt > 0 {
		end, _ := l.clock()
		if completions > 0 {
			l.meter.Add(meter.BusyNanoseconds, end-began)
		}
		if l.prompt > 0 {
			l.recording.Prompt(l.prompt, time.Duration(end-began))
			l.prompt = 0
		}
	}
	l.meter.Publish()
}

// leave gives the loop's number back and shuts the door.
func (l *Loop) leave() {
	l.mu.Lock()
	l.shut = true
	l.posts = nil
	l.mu.Unlock()
	close(l.gone)
	runningMu.Lock()
	running[l.number] = nil
	runningMu.Unlock()
}
