package loop_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver/sim"
)

// recorded checks what the recorder tells of a connection that has failed.
func (w *world) recorded(r *conn.Record, events []conn.Event) {
	if r.Why == nil {
		w.kernel.Fail("the recorder tells of an orderly end")
	}
	if len(events) > conn.EventsKept {
		w.kernel.Fail("%d events are kept", len(events))
	}
	for i := range events {
		if i > 0 && events[i].Time() < events[i-1].Time() {
			w.kernel.Fail("event %d of %v is before the one before it", i, events)
		}
	}
	ends := func(e conn.Event) bool { return e.Kind() == conn.Ends }
	if len(events) > 0 && !slices.ContainsFunc(events, ends) {
		w.kernel.Fail("a connection that ended has no event that says so: %v", events)
	}
}

// TestEvents follows a connection through a request that takes two turns, and forgets it when it is idle.
func TestEvents(t *testing.T) {
	w := &world{seed: 2, rand: rand.New(rand.NewPCG(2, 7)), limits: limits{
		connections: 10, blocks: 64, blockBytes: 4096, operations: 64, outputBytes: 1 << 20,
	}}
	w.options = sim.Options{Seed: 2}
	var idle, busy []conn.Event
	var id uint64
	w.build(&script{
		received: func(c conn.Conn, in []byte) int {
			n := c.(conn.Noter)
			if id = c.ID(); string(in) == "one" {
				n.Note(conn.Answered, 502, 7)
				c.Write([]byte("1234"))
				c.SetIdle(true)
				return len(in)
			}
			idle = n.Recall(nil)
			c.SetIdle(false)
			for range 2 * conn.EventsKept {
				n.Note(conn.Sought, 0, 0)
			}
			busy = n.Recall(nil)
			c.Abort(conn.ErrOutputLimit)
			return len(in)
		},
	})
	step := 0
	w.dial(0, caller(func(p *sim.Peer) {
		buffer := make([]byte, 100)
		n, err := p.Read(buffer)
		switch {
		case step == 0:
			_, _ = p.Write([]byte("one"))
			step++
		case step == 1 && n > 0:
			_, _ = p.Write([]byte("second"))
			step++
		case err != nil:
			p.Close()
			w.finished()
		}
	}))
	w.run()
	if err := w.kernel.Err(); err != nil {
		t.Fatal(err)
	}
	kinds := func(events []conn.Event) (all []conn.Kind) {
		for _, e := range events {
			all = append(all, e.Kind())
		}
		return all
	}
	if len(idle) != 0 {
		t.Errorf("after being idle: %v %+v", kinds(idle), idle)
	}
	if len(busy) != conn.EventsKept || busy[0].Kind() != conn.Sought {
		t.Errorf("%d events: %v", len(busy), kinds(busy))
	}
	if id == 0 {
		t.Error("the connection has no ID")
	}
}

func TestEventsKeepTheirParts(t *testing.T) {
	for _, why := range []error{
		nil, conn.ErrTimeout, conn.ErrStopping, conn.ErrOutputLimit, conn.ErrPressure, conn.ErrAborted, conn.ErrMoved,
		conn.ErrOperator,
	} {
		now := 200*24*time.Hour + 123*time.Microsecond
		e := conn.MakeEvent(int64(now), conn.Ends, conn.CodeOf(why), 1<<63)
		if e.Time() != now || e.Kind() != conn.Ends || conn.ErrorOf(e.Code()) != why || e.Number != 1<<63 {
			t.Errorf("%v: %v %v %v %v", why, e.Time(), e.Kind(), e.Code(), e.Number)
		}
	}
	if other := conn.ErrorOf(conn.CodeOf(errors.New("unheard of"))); other != conn.ErrOther {
		t.Errorf("an unknown error is %v", other)
	}
}
