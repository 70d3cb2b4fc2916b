package sim

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// enough completions make Wait return rather than collect more.
const enough = 64

// errClosed is returned by the methods of a driver that was closed.
var errClosed = errors.New("driver sim: closed")

// machine is the driver.
type machine struct {
	kernel  *Kernel
	blocks  *buf.Pool
	pipes   *driver.Pipes
	peers   sys.Peers
	slots   []*operation
	free    []uint32
	late    []*operation // begin with the next Wait
	ready   []result
	lazy    []result
	limit   int
	busy    int  // operations whose end Wait has not returned
	refused bool // ErrFull was answered since the last Wait
	woken   atomic.Bool
	closed  bool
}

// operation is one in flight. It is over when its last completion waits for Wait.
type operation struct {
	op         driver.Op
	d          *descriptor
	token      driver.Token
	sum        uint64 // of the memory that belongs to the driver
	done       int    // bytes taken
	reported   int    // of done
	told       int    // of reported: Wait has returned it
	generation uint32
	begun      bool
	scheduled  bool // an attempt is among the events
	cancelled  bool
	over       bool
}

type result struct {
	driver.Completion
	op *operation
}

func (m *machine) Name() string              { return "sim" }
func (m *machine) Features() driver.Features { return driver.Completes | driver.Multishot }

// Submit checks the operation against the contract and begins it, now or with the next Wait.
func (m *machine) Submit(op driver.Op) (driver.Token, error) {
	k := m.kernel
	switch {
	case m.closed:
		return 0, errClosed
	case op.Code == driver.Nothing || op.Code > driver.Close:
		return 0, fmt.Errorf("driver sim: there is no operation %d", op.Code)
	case m.refused || m.busy >= m.limit || k.chance(k.faults.Full):
		m.refused = true
		return 0, driver.ErrFull
	}
	o := m.take()
	o.op, o.d = op, k.descriptor(op.FD)
	o.sum = sum(&op)
	k.note("submit", o, len(op.Buf)+op.Len, nil, op.Many)
	if m.check(o); k.broken != nil {
		m.give(o)
		return 0, k.broken
	}
	if side := o.d.sideOf(op.Code); side != nil {
		*side = o
	}
	switch op.Code {
	case driver.Close:
		o.d.closing = true
	case driver.Shutdown:
		o.d.shut = true
	}
	if k.chance(k.faults.LateStart) {
		m.late = append(m.late, o)
	} else {
		m.begin(o)
	}
	return o.token, nil
}

func (m *machine) take() *operation {
	m.busy++
	if n := len(m.free); n > 0 {
		o := m.slots[m.free[n-1]]
		m.free = m.free[:n-1]
		return o
	}
	o := &operation{generation: 1, token: driver.Token(len(m.slots)+1) | 1<<32}
	m.slots = append(m.slots, o)
	return o
}

func (m *machine) give(o *operation) {
	m.busy--
	g, slot := o.generation+1, uint32(o.token)
	*o = operation{generation: g, token: driver.Token(slot) | driver.Token(g)<<32}
	m.free = append(m.free, slot-1)
}

// begin makes the first attempt of an operation, or arranges for it.
func (m *machine) begin(o *operation) {
	k := m.kernel
	o.begun = true
	switch {
	case o.op.Code == driver.Close:
		m.close(o)
	case o.op.Code == driver.Shutdown:
		if o.d.stream != nil && !o.over {
			m.finish(o, 0, k.shutdown(o.d.stream), nil)
		}
	case o.over:
	case k.chance(k.faults.Delay):
		k.stir(o)
	default:
		m.attempt(o)
	}
}

// fire acts on an event of an operation, if that is still in flight.
func (m *machine) fire(e *event) {
	o := e.op
	if o.generation != e.generation || o.over || m.closed {
		return
	}
	if !e.cancel {
		o.scheduled = false
		m.attempt(o)
		return
	}
	if o.begun && m.kernel.chance(m.kernel.faults.CancelRace) {
		m.attempt(o)
	}
	if !o.over {
		m.finish(o, 0, driver.ErrCanceled, nil)
	}
}

// attempt goes on with an operation as far as it gets.
func (m *machine) attempt(o *operation) {
	switch {
	case o.d.closing && o.d.number >= 0 && m.kernel.descriptor(o.d.number) != o.d:
		m.finish(o, 0, driver.ErrCanceled, nil) // its descriptor is closed
	case o.op.Code == driver.Accept:
		m.accept(o)
	case o.op.Code == driver.Recv:
		m.receive(o)
	case o.op.Code == driver.RecvFrom:
		m.receiveFrom(o)
	case o.op.Code == driver.Send:
		m.send(o)
	case o.op.Code == driver.SendFile:
		m.sendFile(o)
	case o.op.Code == driver.SpliceIn:
		m.spliceIn(o)
	case o.op.Code == driver.SendMany:
		m.sendMany(o)
	case o.op.Code == driver.SpliceOut:
		m.spliceOut(o)
	case o.op.Code == driver.SendTo:
		m.sendTo(o)
	case o.op.Code == driver.Connect:
		m.connect(o)
	}
}

// Cancel ends an operation now or a little later, perhaps after it has done more.
func (m *machine) Cancel(t driver.Token) error {
	if m.closed {
		return errClosed
	}
	slot, generation := uint32(t)-1, uint32(t>>32)
	if int64(slot) >= int64(len(m.slots)) || generation > m.slots[slot].generation ||
		generation == m.slots[slot].generation && m.slots[slot].d == nil {
		m.kernel.Fail("token %d.%d was cancelled but never given", uint32(t), generation)
		return m.kernel.broken
	}
	o := m.slots[slot]
	if o.generation != generation || o.cancelled {
		return nil
	}
	m.kernel.note("cancel", o, 0, nil, false)
	o.cancelled = true
	if o.over || o.op.Code == driver.Close || o.op.Code == driver.Shutdown {
		return nil
	}
	k := m.kernel
	if k.chance(k.faults.CancelRace) || k.chance(k.faults.Delay) {
		k.events.push(event{at: k.now + k.delay(), op: o, generation: generation, cancel: true})
	} else {
		m.finish(o, 0, driver.ErrCanceled, nil)
	}
	return nil
}

// progress reports what an operation that goes on has done.
func (m *machine) progress(o *operation, n int, b *buf.Block) {
	m.kernel.note("progress", o, n, nil, true)
	m.ready = append(m.ready, result{driver.Completion{
		Block: b, Token: o.token, User: o.op.User, Result: n, Code: o.op.Code, Flags: driver.More,
	}, o})
}

// finish ends an operation. A write-side one reports what it took and has not reported.
func (m *machine) finish(o *operation, n int, err error, b *buf.Block) {
	k := m.kernel
	n += o.done - o.reported
	k.note("finish", o, n, err, false)
	o.over = true
	if o.op.Pipe != nil {
		o.op.Pipe.Release()
	}
	r := result{driver.Completion{Block: b, Err: err, Token: o.token, User: o.op.User, Result: n, Code: o.op.Code}, o}
	if o.op.Lazy && err == nil && k.chance(k.faults.LateLazy) {
		m.lazy = append(m.lazy, r)
	} else {
		m.ready = append(m.ready, r)
	}
}

// close takes the descriptor away at once; what is cancelled on it may still complete later.
func (m *machine) close(o *operation) {
	k := m.kernel
	k.release(o.d)
	m.finish(o, 0, nil, nil)
}

// Wake makes a Wait return early.
func (m *machine) Wake() error {
	m.woken.Store(true)
	return nil
}

// Close drops what is in flight. Connections that nobody was told of are closed.
func (m *machine) Close() error {
	if m.closed {
		return errClosed
	}
	m.closed = true
	for _, r := range m.ready {
		if r.Block != nil {
			r.Block.Release()
		}
		if r.Pipe != nil {
			r.Pipe.Release()
		}
		if r.Code == driver.Accept && r.Err == nil {
			m.kernel.release(m.kernel.descriptor(r.Result))
		}
	}
	for _, o := range m.slots {
		if o.op.Pipe != nil && !o.over {
			o.op.Pipe.Release()
		}
	}
	m.ready, m.lazy, m.late = nil, nil, nil
	return nil
}

// Wait begins what is queued and lets time pass until there is something to return.
func (m *machine) Wait(dst []driver.Completion, d time.Duration) (int, error) {
	k := m.kernel
	switch {
	case m.closed:
		return 0, errClosed
	case len(dst) == 0:
		return 0, errors.New("driver sim: Wait needs room for one completion")
	}
	k.waits++
	k.now += int64(turnCost)
	m.refused = false
	for i := 0; i < len(m.late); i++ {
		m.begin(m.late[i])
	}
	m.late = m.late[:0]
	if k.chance(k.faults.Jump) {
		k.now += k.upTo(5 * time.Second)
	}
	n := 0
	if !k.chance(k.faults.EmptyWait) {
		n = m.pass(dst, d)
	}
	k.run()
	m.watch(n)
	if k.broken != nil {
		return 0, k.broken
	}
	return n, nil
}

// pass lets time pass until something is ready, d is over or the driver is woken.
func (m *machine) pass(dst []driver.Completion, d time.Duration) int {
	k := m.kernel
	deadline := k.now + int64(d)
	until := int64(-1) // when to stop collecting
	for {
		k.run()
		woken := m.woken.Load()
		if k.broken != nil {
			return 0
		}
		if len(m.ready) > 0 && until < 0 {
			if until = k.now; k.chance(k.faults.Batch) {
				until += k.upTo(200 * time.Microsecond)
			}
		}
		over := d >= 0 && k.now >= deadline
		if woken || until >= 0 && (k.now >= until || len(m.ready) >= enough) || over || m.busy >= m.limit && len(m.lazy) > 0 {
			if woken {
				m.woken.Store(false)
			}
			return m.collect(dst, woken || m.busy >= m.limit || over && k.chance(0.5))
		}
		next := deadline
		if d < 0 {
			next = 1<<63 - 1
		}
		if until >= 0 {
			next = min(next, until)
		}
		if len(k.events.heap) > 0 {
			next = min(next, k.events.heap[0].at)
		}
		if next == 1<<63-1 {
			k.Fail("the loop waits for ever and nothing will happen; %d descriptors are open", k.open)
			return 0
		}
		k.now = max(k.now, next)
	}
}

// collect moves what is ready into dst, and what is lazy if anything else is returned or if it is flushed.
func (m *machine) collect(dst []driver.Completion, flush bool) int {
	m.reorder()
	n := m.deliver(dst, 0, &m.ready)
	if n > 0 || flush {
		n = m.deliver(dst, n, &m.lazy)
		m.ready = append(m.ready, m.lazy...) // for which there was no room
		clear(m.lazy)
		m.lazy = m.lazy[:0]
	}
	return n
}

func (m *machine) deliver(dst []driver.Completion, n int, from *[]result) int {
	count := min(len(dst)-n, len(*from))
	for i := range count {
		r := &(*from)[i]
		dst[n] = r.Completion
		n++
		m.returned(r)
	}
	left := copy(*from, (*from)[count:])
	clear((*from)[left:])
	*from = (*from)[:left]
	return n
}

// returned notes that Wait has told the loop.
func (m *machine) returned(r *result) {
	o := r.op
	k := m.kernel
	k.note("return", o, r.Result, r.Err, r.Flags&driver.More != 0)
	// What was reported as taken is the loop's again, although the operation goes on.
	if o.told += r.Result; sum(&o.op) != o.sum && (o.op.Code != driver.SendFile || o.told < len(o.op.Buf)) {
		k.Fail("the memory of a %s in flight was changed", codeNames[o.op.Code])
	}
	if r.Code == driver.Accept && r.Err == nil {
		k.descriptor(r.Result).adopted = true
	}
	if r.Flags&driver.More != 0 {
		return
	}
	if side := o.d.sideOf(o.op.Code); side != nil {
		*side = nil
	}
	m.give(o)
}

// reorder lets completions of different descriptors, or of the two sides of one, change places.
func (m *machine) reorder() {
	k := m.kernel
	if len(m.ready) < 2 || !k.chance(k.faults.Reorder) {
		return
	}
	for range 2 * len(m.ready) {
		i := k.rand.IntN(len(m.ready) - 1)
		a, b := &m.ready[i], &m.ready[i+1]
		if a.op.d != b.op.d || a.op.d.sideOf(a.Code) != b.op.d.sideOf(b.Code) {
			*a, *b = *b, *a
		}
	}
}

// watch fails a loop that calls Wait again and again while nothing happens.
func (m *machine) watch(n int) {
	k := m.kernel
	if n > 0 || k.now-k.restSince > int64(restlessTime)*int64(k.restless+1)/100 {
		k.restless, k.restSince = 0, k.now
		return
	}
	if k.restless++; k.restless >= restlessWaits {
		k.Fail("the loop spins: %d Waits within %v brought nothing", k.restless, k.Now()-time.Duration(k.restSince))
	}
}
