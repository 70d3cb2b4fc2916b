// Package crowd opens connections by the hundred thousand, from one thread, and keeps them where they cost next to
// nothing: in tables of direct descriptors, which RLIMIT_NOFILE bounds each for itself and not together. Who holds a
// crowd has a list of tables, each with a source address of its own.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// The sizes of a table.
const (
	// Window is how many connections are at work at a time.
	Window = 1024
	// AnswerMost is the largest answer that is looked at, in bytes.
	AnswerMost = 1024
	// SlotsMost is how many connections a table can have: as many as there are ports between two tries.
	SlotsMost = portStride
)

const (
	queueEntries = 2048
	chainMost    = 6                // submissions of a chain
	waitFor      = 32               // outcomes to wait for, while there are more in flight
	waitSlice    = int64(2_000_000) // nanoseconds of one wait
	stalledAfter = 10 * time.Second // without any outcome
	firstPort    = 10_000           // source ports begin here: below what the kernel gives out by itself
	portStride   = 20_000           // between the ports that a connection tries, when the first is in use
	portTries    = 3                // the last of them is below 65,536
	stateLost    = byte(1)          // of a slot
)

// Step is a submission of a chain, as its user data names it.
type Step uint8

// The steps, in the order in which a chain can have them.
const (
	Socket  Step = iota // make it
	Bind                // to the table's source and the slot's port
	Connect             // to the target
	Send                // the request
	Receive             // the answer
	Finish              // close it; alone
)

var stepNames = [...]string{"socket", "bind", "connect", "send", "receive", "close"}

// Table is a ring with the direct descriptors of its connections. It belongs to one thread.
//
// A chain of linked submissions does all that a connection needs, and says one word at its end: either the last of
// them has an outcome, or the one that failed. So a connection costs nothing here but a byte.
type Table struct {
	ring    *sys.Ring
	target  []byte // raw address of the server
	source  netip.Addr
	lanes   []byte // Window answers
	free    []uint16
	state   []byte // of each slot
	tries   map[int]int
	request []byte // outside the heap, as the kernel reads it
	answer  Answer
	since   []int64 // when the request of a slot was sent; for Busy
	raw     []byte
}

// Answer is what every answer looks like.
type Answer struct {
	// Size is how many bytes it has, no more than AnswerMost; 0 looks at whatever comes first.
	Size int
	// Good tells a good one. Nil: all are.
	Good func(p []byte) bool
}

// Failure is the first connection of a table that went wrong.
type Failure struct {
	source netip.AddrPort
	what   Step
	err    error
}

// Error is the connection's local address, the step, and what it met.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s: %v", f.source, stepNames[f.what], f.err)
}

// Unwrap is what it met.
func (f *Failure) Unwrap() error { return f.err }

// ErrAnswer is met by a connection whose answer is not good.
var ErrAnswer = errors.New("the answer is not the expected one")

// Open makes a table of so many empty slots, whose connections come from source. It belongs to the calling thread,
// which must stay locked to its goroutine.
func Open(target netip.AddrPort, source netip.Addr, slots int, request []byte, a Answer) (*Table, error) {
	if slots > SlotsMost || a.Size > AnswerMost {
		return nil, fmt.Errorf("a table of %d slots with answers of %d bytes; %d and %d are possible",
			slots, a.Size, SlotsMost, AnswerMost)
	}
	ring, err := sys.OpenRing(queueEntries, queueEntries)
	if err != nil {
		return nil, fmt.Errorf("a ring for a table of connections: %w", err)
	}
	t := &Table{ring: ring, source: source, answer: a, state: make([]byte, slots), tries: map[int]int{}}
	if err := ring.ReserveFiles(slots); err != nil {
		t.Close()
		return nil, fmt.Errorf("%d direct descriptors: %w", slots, err)
	}
	memory, err := sys.Map(Window*AnswerMost + AnswerMost)
	if err != nil {
		t.Close()
		return nil, err
	}
	t.lanes = memory[:Window*AnswerMost]
	t.request = memory[Window*AnswerMost:][:copy(memory[Window*AnswerMost:], request)]
	t.target, _ = sys.EncodeAddress(nil, target)
	for lane := range uint16(Window) {
		t.free = append(t.free, lane)
	}
	return t, nil
}

// Close closes the ring and with it every connection that is left.
func (t *Table) Close() {
	t.ring.Close()
	if t.lanes != nil {
		_ = sys.Unmap(t.lanes[:cap(t.lanes)])
	}
}

func userData(slot int, lane uint16, s Step) uint64 {
	return uint64(s)<<48 | uint64(lane)<<32 | uint64(slot)
}

func (t *Table) lane(i uint16) []byte {
	if t.answer.Size == 0 {
		return t.lanes[int(i)*AnswerMost:][:AnswerMost]
	}
	return t.lanes[int(i)*AnswerMost:][:t.answer.Size]
}

// room makes room for a whole chain: one that is cut by an enter is two.
func (t *Table) room() {
	if t.ring.Position()-t.ring.Consumed() > queueEntries-chainMost {
		_ = t.ring.Enter()
	}
}

func (t *Table) port(slot int) uint16 { return uint16(firstPort + slot + t.tries[slot]*portStride) }

// chain submits a connection's part of a phase. All but the last submission speak only when they fail.
func (t *Table) chain(slot int, lane uint16, first, last Step) {
	t.room()
	for s := first; s <= last; s++ {
		user := userData(slot, lane, s)
		e := t.ring.Next()
		switch s {
		case Socket:
			e.SocketDirect(sys.Inet4, sys.Stream, slot, user)
		case Bind:
			t.raw, _ = sys.EncodeAddress(t.raw[:0], netip.AddrPortFrom(t.source, t.port(slot)))
			t.ring.BindDirect(e, slot, t.raw, user)
		case Connect:
			t.ring.Connect(e, slot, t.target, user)
			e.Flags |= sys.FixedFile
		case Send:
			e.Send(slot, t.request, sys.MsgWaitAll, user)
			e.Flags |= sys.FixedFile
		case Receive:
			flags := sys.MsgWaitAll
			if t.answer.Size == 0 {
				flags = 0
			}
			e.RecvInto(slot, t.lane(lane), flags, user)
			e.Flags |= sys.FixedFile
		case Finish:
			e.CloseDirect(slot, user)
		}
		if s != last {
			e.Flags |= sys.Linked | sys.SkipSuccess
		}
	}
}

// Slots is how many the table has.
func (t *Table) Slots() int { return len(t.state) }

// Each runs a chain for the slots in [from, to) that are not lost, and reports how many of them ended well and what
// the first other one met. It ends early when the context ends or when nothing comes any more.
func (t *Table) Each(ctx context.Context, from, to int, first, last Step) (well int, worst error) {
	flying, next, heard := 0, from, time.Now()
	for flying > 0 || next < to {
		for next < to && len(t.free) > 0 && ctx.Err() == nil {
			if t.state[next] != stateLost || last == Finish {
				t.chain(next, t.take(), first, last)
				flying++
			}
			next++
		}
		if ctx.Err() != nil {
			next = to
		}
		if err := t.enter(min(flying, waitFor)); err != nil {
			return well, errors.Join(worst, err)
		}
		ready := t.ring.Ready()
		for i := range ready {
			o := *t.ring.Outcome(i)
			slot, lane, what := int(uint32(o.UserData)), uint16(o.UserData>>32), Step(o.UserData>>48&0xff)
			if t.rebind(&o, slot, lane, what, last) {
				continue
			}
			flying--
			err := t.judge(&o, lane, what)
			t.free = append(t.free, lane)
			if err == nil {
				well++
				continue
			}
			t.state[slot] = stateLost
			if worst == nil {
				worst = &Failure{netip.AddrPortFrom(t.source, t.port(slot)), what, err}
			}
		}
		t.ring.Seen(ready)
		switch {
		case ready > 0:
			heard = time.Now()
		case flying > 0 && time.Since(heard) > stalledAfter:
			return well, errors.Join(worst, fmt.Errorf("%s: %d of %d connections say nothing for %v",
				t.source, flying, to-from, stalledAfter))
		}
	}
	return well, errors.Join(worst, ctx.Err())
}

// enter submits and waits for some outcomes. Whatever it did not do for a reason that passes is done by the next one.
func (t *Table) enter(least int) error {
	switch err := t.ring.EnterMany(least, waitSlice); err {
	case nil, syscall.ETIME, syscall.EINTR, syscall.EAGAIN, syscall.EBUSY:
		return nil
	default:
		return fmt.Errorf("entering a ring: %w", err)
	}
}

func (t *Table) take() uint16 {
	lane := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	return lane
}

// rebind tries another port where one is in use.
func (t *Table) rebind(o *sys.Outcome, slot int, lane uint16, what, last Step) bool {
	if what != Bind || o.Res != -int32(syscall.EADDRINUSE) || t.tries[slot] == portTries-1 {
		return false
	}
	t.tries[slot]++
	t.chain(slot, lane, Bind, last)
	return true
}

// judge tells what is wrong with the end of a chain.
func (t *Table) judge(o *sys.Outcome, lane uint16, what Step) error {
	switch {
	case o.Res < 0:
		return syscall.Errno(-o.Res)
	case what == Receive && o.Res == 0:
		return errors.New("the server closed the connection")
	case what == Receive && !t.good(t.lane(lane)[:o.Res]):
		return ErrAnswer
	case what == Send:
		return errors.New("the request was not sent whole")
	}
	return nil
}

func (t *Table) good(p []byte) bool {
	if t.answer.Size != 0 && len(p) != t.answer.Size {
		return false
	}
	return t.answer.Good == nil || t.answer.Good(p)
}
