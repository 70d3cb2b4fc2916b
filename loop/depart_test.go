package loop_test

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/loop"
)

// Leaves implements conn.Portable, as the handler does.
func (k *checker) Leaves(c conn.Conn) (conn.Conn, bool) {
	r := k.enter(c, "Leaves")
	defer k.leave(c, r)
	return k.handler.(conn.Portable).Leaves(c)
}

// Pack implements conn.Portable.
func (k *checker) Pack(c conn.Conn, state []byte) ([]byte, bool) {
	r := k.enter(c, "Pack")
	defer k.leave(c, r)
	if c.Queued() > 0 {
		k.world.kernel.Fail("Pack with %d bytes queued", c.Queued())
	}
	return k.handler.(conn.Portable).Pack(c, state)
}

// Unpack implements conn.Portable.
func (k *checker) Unpack(c conn.Conn, state []byte, mate func(conn.Handler, any) conn.Conn) error {
	begin := func(c conn.Conn) {
		if k.open[c.ID()] != nil {
			k.world.kernel.Fail("connection %x arrives twice", c.ID())
		}
		k.opened++
		k.open[c.ID()] = &checked{}
	}
	begin(c)
	r := k.enter(c, "Unpack")
	defer k.leave(c, r)
	return k.handler.(conn.Portable).Unpack(c, state, func(_ conn.Handler, v any) conn.Conn {
		m := mate(k, v)
		begin(m)
		return m
	})
}

// wanderers is a switchboard whose pairs go away and come back, at any moment.
type wanderers struct {
	switchboard
	sides []*side // what is told by its number
	left  map[*side]bool
}

func (h *wanderers) Leaves(c conn.Conn) (conn.Conn, bool) {
	s := sideOf(c)
	if s == nil || s.other == nil || h.w.left == 0 || h.w.kernel.Rand().IntN(3) == 0 {
		return nil, false
	}
	return s.other, true
}

func (h *wanderers) Pack(c conn.Conn, state []byte) ([]byte, bool) {
	if h.w.kernel.Rand().IntN(8) == 0 {
		return nil, false
	}
	s := sideOf(c)
	h.sides = append(h.sides, s)
	h.left[s], h.left[s.partner] = true, true
	return binary.LittleEndian.AppendUint32(state, uint32(len(h.sides)-1)), true
}

var errNotNow = errors.New("not now")

func (h *wanderers) Unpack(c conn.Conn, state []byte, mate func(conn.Handler, any) conn.Conn) error {
	r, k := h.w.kernel.Rand(), h.w.checker
	s := h.sides[binary.LittleEndian.Uint32(state)]
	t := s.partner
	var m conn.Conn
	switch r.IntN(12) {
	case 0:
		return errNotNow
	case 1:
		if m = mate(nil, nil); m.Pipe(c) {
			c.Write([]byte("nobody hears this"))
		}
		return errNotNow
	}
	m = mate(nil, t)
	c.Attach(s)
	s.c, s.other, t.c, t.other = c, m, m, c
	h.left[s], h.left[t] = false, false
	for _, s := range []*side{s, t} {
		if r.IntN(2) == 0 && k.pipe(s.c, s.other) {
			h.piped++
		}
		s.c.SetTimer(1 + r.Int64N(5e6))
	}
	return nil
}

func (h *wanderers) Closed(c conn.Conn, why error) {
	if s := sideOf(c); why == conn.ErrMoved {
		if s != nil && !h.left[s] {
			h.w.kernel.Fail("a connection was closed as moved that was not packed")
		}
		return
	}
	h.switchboard.Closed(c, why)
}

// wander runs pairs of speakers whose connections leave and arrive in between, and returns how often a pair did.
func wander(w *world, hostile bool) (moves int) {
	r := w.rand
	w.options.Faults.Reset, w.options.Faults.AcceptError = 0, 0
	w.limits.pipes, w.passes, w.options.Parts = r.IntN(6), true, true
	h := &wanderers{left: map[*side]bool{}}
	h.switchboard = switchboard{w: w, callers: map[byte]*side{}, hostile: hostile}
	w.build(h)
	var arrive func(p *conn.Parcel)
	later := func(p *conn.Parcel) {
		w.left++ // the loop goes on until it is back
		w.kernel.After(time.Duration(1+w.kernel.Rand().Int64N(3e6)), func() { w.loop.Do(func() { arrive(p) }) })
	}
	arrive = func(p *conn.Parcel) {
		defer w.finished()
		switch err := w.loop.Arrive(1, p); {
		case errors.Is(err, errNotNow):
			later(p)
		case err != nil:
			w.kernel.Fail("Arrive: %v", err)
		default:
			moves++
		}
	}
	d := loop.Departure{
		Room: func() int { return w.kernel.Rand().IntN(8) },
		Take: later,
		Only: func(listener int) bool { return listener == 1 },
	}
	var toggle func()
	on := false
	toggle = func() {
		if on = !on && w.left > 0; on {
			if err := w.loop.Depart(d, nil); err != nil {
				w.kernel.Fail("Depart: %v", err)
			}
		} else {
			w.loop.EndDeparture()
		}
		if w.left > 0 {
			w.kernel.After(time.Duration(1+w.kernel.Rand().Int64N(2e6)), func() { w.loop.Do(toggle) })
		}
	}
	w.kernel.After(time.Duration(r.IntN(5e6)), func() { w.loop.Do(toggle) })
	speak(w, hostile)
	w.run()
	counts := w.meter.Snapshot()
	if w.kernel.Err() == nil && counts[meter.Moved] < int64(4*moves) {
		w.kernel.Fail("the meter counts %d connections that moved, and %d pairs left and arrived", counts[meter.Moved], moves)
	}
	return moves
}

// manyMoves has pairs wander over many seeds.
func manyMoves(t *testing.T, hostile bool) {
	moves := 0
	overSeeds(t, func(w *world) { moves += wander(w, hostile) })
	if moves == 0 && os.Getenv("MYRIAD_SEED") == "" {
		t.Error("no pair has left and arrived")
	}
	t.Logf("%d pairs left and arrived", moves)
}

// TestSimDepart wants every byte of both directions in order, and the end behind them, however often both connections
// leave and come back, at whatever moment.
func TestSimDepart(t *testing.T) {
	manyMoves(t, false)
}

// TestSimDepartHostile has connections reset and aborted in the middle.
func TestSimDepartHostile(t *testing.T) {
	manyMoves(t, true)
}
