package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

const (
	queueEntries = 2048
	windowLanes  = 1024                  // connections that are at work at a time
	laneBytes    = 1024                  // room for an answer
	chainMost    = 6                     // submissions of a chain
	waitFor      = 32                    // outcomes to wait for, while there are more in flight
	waitSlice    = int64(2_000_000)      // nanoseconds of one wait
	stalledAfter = 10 * time.Second      // without any outcome
	firstPort    = 10_000                // source ports begin here: below what the kernel gives out by itself
	portStride   = 20_000                // between the ports that a connection tries, when the first is in use
	portTries    = 3                     // the last of them is below 65,536
	tableMost    = portStride            // slots of a table: as many as there are ports between two tries
	stateLost    = byte(1)               // of a slot
	loopbackHost = "127.0.0.1"           // where the servers listen
	statusOK     = "HTTP/1.1 200 OK\r\n" // how a good answer begins
)

// step is a submission of a chain, as its user data names it.
type step uint8

const (
	stepSocket step = iota
	stepBind
	stepConnect
	stepSend
	stepReceive
	stepClose
)

var stepNames = [...]string{"socket", "bind", "connect", "send", "receive", "close"}

// table is a ring of the client with the direct descriptors of its connections. It belongs to one thread.
//
// A chain of linked submissions does all that a connection needs, and says one word at its end: either the last of
// them has an outcome, or the one that failed. So a connection costs nothing here but a byte.
type table struct {
	ring    *sys.Ring
	target  []byte // raw address of the server
	source  netip.Addr
	lanes   []byte // windowLanes answers
	free    []uint16
	state   []byte // of each slot
	tries   map[int]int
	request []byte // outside the heap, as the kernel reads it
	answer  answer
	since   []int64 // when the request of a slot was sent; for measure
	raw     []byte
}

// answer is what every answer looks like: only the date in it changes.
type answer struct {
	size int
	body []byte
}

func (a answer) good(p []byte) bool {
	return len(p) == a.size && bytes.HasPrefix(p, []byte(statusOK)) && bytes.HasSuffix(p, a.body)
}

// failure is the first connection of a table that went wrong.
type failure struct {
	source netip.AddrPort
	what   step
	err    error
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s: %s: %v", f.source, stepNames[f.what], f.err)
}
func (f *failure) Unwrap() error { return f.err }

var errAnswer = errors.New("the answer is not the expected one")

// openTable makes a table of slots empty ones, whose connections come from source.
func openTable(target netip.AddrPort, source netip.Addr, slots int, request []byte, a answer) (*table, error) {
	if slots > tableMost || a.size > laneBytes {
		return nil, fmt.Errorf("a table of %d slots with answers of %d bytes; %d and %d are possible",
			slots, a.size, tableMost, laneBytes)
	}
	ring, err := sys.OpenRing(queueEntries, queueEntries)
	if err != nil {
		return nil, fmt.Errorf("a ring of the client: %w", err)
	}
	t := &table{ring: ring, source: source, answer: a, state: make([]byte, slots), tries: map[int]int{}}
	if err := ring.ReserveFiles(slots); err != nil {
		t.release()
		return nil, fmt.Errorf("%d direct descriptors: %w", slots, err)
	}
	memory, err := sys.Map(windowLanes*laneBytes + laneBytes)
	if err != nil {
		t.release()
		return nil, err
	}
	t.lanes = memory[:windowLanes*laneBytes]
	t.request = memory[windowLanes*laneBytes:][:copy(memory[windowLanes*laneBytes:], request)]
	t.target, _ = sys.EncodeAddress(nil, target)
	for lane := range uint16(windowLanes) {
		t.free = append(t.free, lane)
	}
	return t, nil
}

// release closes the ring and with it every connection that is left.
func (t *table) release() {
	t.ring.Close()
	if t.lanes != nil {
		_ = sys.Unmap(t.lanes[:cap(t.lanes)])
	}
}

func userData(slot int, lane uint16, s step) uint64 {
	return uint64(s)<<48 | uint64(lane)<<32 | uint64(slot)
}

func (t *table) lane(i uint16) []byte {
	return t.lanes[int(i)*laneBytes:][:t.answer.size]
}

// room makes room for a whole chain: one that is cut by an enter is two.
func (t *table) room() {
	if t.ring.Position()-t.ring.Consumed() > queueEntries-chainMost {
		_ = t.ring.Enter()
	}
}

func (t *table) port(slot int) uint16 { return uint16(firstPort + slot + t.tries[slot]*portStride) }

// chain submits a connection's part of a phase. All but the last submission speak only when they fail.
func (t *table) chain(slot int, lane uint16, first, last step) {
	t.room()
	for s := first; s <= last; s++ {
		user := userData(slot, lane, s)
		e := t.ring.Next()
		switch s {
		case stepSocket:
			e.SocketDirect(sys.Inet4, sys.Stream, slot, user)
		case stepBind:
			t.raw, _ = sys.EncodeAddress(t.raw[:0], netip.AddrPortFrom(t.source, t.port(slot)))
			t.ring.BindDirect(e, slot, t.raw, user)
		case stepConnect:
			t.ring.Connect(e, slot, t.target, user)
			e.Flags |= sys.FixedFile
		case stepSend:
			e.Send(slot, t.request, sys.MsgWaitAll, user)
			e.Flags |= sys.FixedFile
		case stepReceive:
			e.RecvInto(slot, t.lane(lane), sys.MsgWaitAll, user)
			e.Flags |= sys.FixedFile
		case stepClose:
			e.CloseDirect(slot, user)
		}
		if s != last {
			e.Flags |= sys.Linked | sys.SkipSuccess
		}
	}
}

// each runs a chain for the slots in [from, to) that are not lost, and reports how many of them ended well and what
// the first other one met. It ends early when the context ends or when nothing comes any more.
func (t *table) each(ctx context.Context, from, to int, first, last step) (well int, worst error) {
	flying, next, heard := 0, from, time.Now()
	for flying > 0 || next < to {
		for next < to && len(t.free) > 0 && ctx.Err() == nil {
			if t.state[next] != stateLost || last == stepClose {
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
			slot, lane, what := int(uint32(o.UserData)), uint16(o.UserData>>32), step(o.UserData>>48&0xff)
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
				worst = &failure{netip.AddrPortFrom(t.source, t.port(slot)), what, err}
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
func (t *table) enter(least int) error {
	switch err := t.ring.EnterMany(least, waitSlice); err {
	case nil, syscall.ETIME, syscall.EINTR, syscall.EAGAIN, syscall.EBUSY:
		return nil
	default:
		return fmt.Errorf("entering a ring of the client: %w", err)
	}
}

func (t *table) take() uint16 {
	lane := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	return lane
}

// rebind tries another port where one is in use.
func (t *table) rebind(o *sys.Outcome, slot int, lane uint16, what, last step) bool {
	if what != stepBind || o.Res != -int32(syscall.EADDRINUSE) || t.tries[slot] == portTries-1 {
		return false
	}
	t.tries[slot]++
	t.chain(slot, lane, stepBind, last)
	return true
}

// judge tells what is wrong with the end of a chain.
func (t *table) judge(o *sys.Outcome, lane uint16, what step) error {
	switch {
	case o.Res < 0:
		return syscall.Errno(-o.Res)
	case what == stepReceive && o.Res == 0:
		return errors.New("the server closed the connection")
	case what == stepReceive && !t.answer.good(t.lane(lane)[:o.Res]):
		return errAnswer
	case what == stepSend:
		return errors.New("the request was not sent whole")
	}
	return nil
}
