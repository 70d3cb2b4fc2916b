package emulate

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/myriad-server/myriad/buf"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// ErrClosed is returned by the methods of a driver that was closed.
var ErrClosed = errors.New("driver: closed")

// hintsTurn is how many hints one call of Poll may bring.
const hintsTurn = 256

// machine is the driver.
type machine struct {
	poller   Poller
	blocks   *buf.Pool
	pipes    *driver.Pipes
	features driver.Features
	limit    int // operations in flight and results not yet returned

	table     []entry
	slots     slots
	cargoes   cargoes
	results   queue[result]
	urgent    int // results that are not lazy
	room      int // no attempt begins when as many results are urgent
	turn      queue[driver.Token]
	hints     [hintsTurn]Hint
	address   [sys.AddressBytes]byte
	peers     sys.Peers
	peek      [1]byte
	datagrams *sys.DatagramBatch // made when first needed
	messages  *sys.ReceiveBatch
	recent    bool // the last Wait returned something

	woken  atomic.Bool // Wake was called and Wait has not returned since
	wake   sync.Mutex  // keeps the poller open while it is told; taken once per Wait at most
	closed bool        // written under wake
}

// New makes a driver of a poller, which it closes with itself, also if it fails.
// Blocks and Ops of the options must be set.
func New(p Poller, o driver.Options, f driver.Features) (driver.Driver, error) {
	if o.Blocks == nil || o.Ops <= 0 || o.Ops >= math.MaxInt32 {
		return nil, errors.Join(
			fmt.Errorf("driver %s: needs Options.Blocks and a positive Options.Ops (it is %d)", p.Name(), o.Ops), p.Close())
	}
	return &machine{poller: p, blocks: o.Blocks, pipes: o.Pipes, features: f, limit: o.Ops, room: math.MaxInt}, nil
}

func (m *machine) Name() string { return m.poller.Name() }

func (m *machine) Features() driver.Features { return m.features }

// Adopt takes a descriptor in. What is known of an earlier one of the same number
// is forgotten.
func (m *machine) Adopt(fd int) (int, error) {
	if fd < 0 {
		return 0, syscall.EBADF
	}
	kind := adopted
	if !sys.TCPSocket(fd) {
		kind |= pieces
	}
	m.enter(fd, kind)
	return fd, nil
}

// enter makes the entry of a new descriptor.
func (m *machine) enter(fd int, marks uint8) {
	if fd >= len(m.table) {
		m.table = append(m.table, make([]entry, fd+1-len(m.table))...)
		m.table = m.table[:cap(m.table)]
	}
	m.table[fd] = entry{marks: marks}
}

func (m *machine) Descriptor(fd int) (int, func(), error) {
	if m.entry(fd) == nil {
		return 0, nil, syscall.EBADF
	}
	return fd, func() {}, nil
}

// entry is what is known of a descriptor of the driver, or nil.
func (m *machine) entry(fd int) *entry {
	if uint(fd) >= uint(len(m.table)) || m.table[fd].marks&adopted == 0 {
		return nil
	}
	return &m.table[fd]
}

// Submit attempts the operation. What cannot be done at once is parked, and
// whatever was done waits for Wait.
func (m *machine) Submit(op driver.Op) (driver.Token, error) {
	switch {
	case m.closed:
		return 0, ErrClosed
	case op.Code == driver.Nothing || op.Code > driver.Close:
		return 0, fmt.Errorf("driver %s: there is no operation %d", m.Name(), op.Code)
	case m.full():
		return 0, driver.ErrFull
	}
	slot, o := m.slots.take()
	o.user, o.code, o.fd = op.User, op.Code, int32(op.FD)
	token := m.slots.tokenOf(slot)
	e := m.entry(op.FD)
	if e == nil {
		m.finish(slot, o, 0, syscall.EBADF, nil)
		release(op.Pipe)
		return token, nil
	}
	if op.Lazy {
		o.marks |= lazy
	}
	if op.Many {
		o.marks |= many
	}
	if op.Corked {
		o.marks |= corked
	}
	switch op.Code {
	case driver.Accept, driver.RecvFrom:
		o.next = 0
		m.submitRead(slot, o, e)
	case driver.Recv, driver.SpliceIn:
		o.next = uint32(op.Len)
		m.submitRead(slot, o, e)
	case driver.Shutdown:
		m.finish(slot, o, 0, sys.Shutdown(op.FD, 1), nil)
	case driver.Close:
		m.close(slot, o, e)
	default:
		m.submitWrite(slot, o, e, &op)
	}
	return token, nil
}

// full tells whether nothing more can be submitted before a Wait.
func (m *machine) full() bool { return m.slots.busy+m.results.size() >= m.limit }

func (m *machine) submitRead(slot uint32, o *operation, e *entry) {
	o.marks &^= lazy
	if e.read != 0 {
		m.finish(slot, o, 0, syscall.EBUSY, nil)
		return
	}
	e.read = slot + 1
	if e.dry&Readable != 0 {
		m.park(slot, o, Readable, 0)
		return
	}
	m.attemptRead(slot, o, 1)
}

func (m *machine) submitWrite(slot uint32, o *operation, e *entry, op *driver.Op) {
	if e.write != 0 {
		m.finish(slot, o, 0, syscall.EBUSY, nil)
		release(op.Pipe)
		return
	}
	e.write = slot + 1
	c := cargo{head: op.Buf, rest: op.Rest, addr: op.Addr, off: op.Off, left: op.Len, from: op.From, pipe: op.Pipe}
	switch {
	case op.Code == driver.Connect:
		o.marks &^= lazy
		e.dry &^= Writable // until it is connected, this bit tells nothing
	case op.Code == driver.SendFile && op.Len < 0:
		m.finish(slot, o, 0, syscall.EINVAL, nil)
		return
	case op.Code != driver.Send && op.Code != driver.SendMany:
		c.rest = nil
	}
	if e.dry&Writable != 0 {
		if m.park(slot, o, Writable, 0) {
			o.cargo = m.cargoes.keep(&c)
			return
		}
	} else if !m.attemptWrite(slot, o, &c) {
		o.cargo = m.cargoes.keep(&c)
		return
	}
	release(c.pipe)
}

// park leaves an operation to the poller; false says that it could not and has
// completed the operation, which had done so much.
func (m *machine) park(slot uint32, o *operation, direction Interest, done int) bool {
	e := &m.table[o.fd]
	e.dry |= direction
	if e.want&direction != 0 {
		return true
	}
	if err := m.poller.Set(int(o.fd), e.want, e.want|direction); err != nil {
		e.dry &^= direction
		m.finish(slot, o, done, err, nil)
		return false
	}
	e.want |= direction
	return true
}

// close closes a descriptor. Operations that are still parked on it, against the
// contract, are cancelled rather than forgotten.
func (m *machine) close(slot uint32, o *operation, e *entry) {
	for _, parked := range [2]uint32{e.read, e.write} {
		if parked != 0 {
			m.cancel(parked-1, m.slots.at(parked-1))
		}
	}
	fd := int(o.fd)
	m.poller.Gone(fd)
	*e = entry{}
	m.finish(slot, o, 0, sys.Close(fd), nil)
}

// Cancel completes an operation now, with what it had done.
func (m *machine) Cancel(t driver.Token) error {
	if m.closed {
		return ErrClosed
	}
	if slot, o := m.slots.find(t); o != nil {
		m.cancel(slot, o)
	}
	return nil
}

func (m *machine) cancel(slot uint32, o *operation) {
	done := 0
	if o.cargo != 0 {
		done = m.cargoes.at(o.cargo).done
	}
	m.finish(slot, o, done, driver.ErrCanceled, nil)
}

// Wake tells the poller at most once per Wait, and costs nothing more often.
func (m *machine) Wake() error {
	if m.woken.Swap(true) {
		return nil
	}
	m.wake.Lock()
	defer m.wake.Unlock()
	if m.closed {
		return ErrClosed
	}
	return m.poller.Wake()
}

// Close drops what is in flight. A connection that was accepted and that Wait has
// not returned is known to nobody else, so it is closed.
func (m *machine) Close() error {
	m.wake.Lock()
	defer m.wake.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.closed = true
	for m.results.size() > 0 {
		r := m.results.pop()
		if r.Block != nil {
			r.Block.Release()
		}
		release(r.Pipe)
		if r.Code == driver.Accept && r.Err == nil {
			m.poller.Gone(r.Result)
			_ = sys.Close(r.Result)
		}
	}
	for i := range m.cargoes.items {
		release(m.cargoes.items[i].pipe)
	}
	if m.messages != nil {
		_ = m.messages.Close()
	}
	m.table, m.slots, m.cargoes, m.turn = nil, slots{}, cargoes{}, queue[driver.Token]{}
	return m.poller.Close()
}
