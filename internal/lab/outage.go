package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

const outageMethod = "At last 16 users ask a store through Myriad, which waits half a second for an answer. All " +
	"pooled connections die at once: the store's process is killed, and after a while another one is started in its " +
	"place, or it is stopped (SIGSTOP: it accepts nothing and answers nothing) and continues later."

// An outage has three phases: before it, while it lasts, and after it.
const (
	calm = iota
	dead
	restored
	phases
)

// witness is what users have seen of an outage. It is told by one user at a time.
type witness struct {
	phase    atomic.Int32
	returned atomic.Int64 // when the store was back, in nanoseconds
	first    time.Duration
	seen     [phases]struct {
		asked, failed int
		slowest       time.Duration // of those that failed
	}
}

// turn begins the next phase.
func (w *witness) turn(phase int32) { w.phase.Store(phase) }

// see takes one request. After the outage, those that failed before the first was answered again are told by the time
// that this took.
func (w *witness) see(began time.Time, took time.Duration, err error) {
	at := w.phase.Load()
	if at == restored && w.first < 0 {
		if err != nil {
			return
		}
		w.first = max(0, time.Duration(began.Add(took).UnixNano()-w.returned.Load()))
	}
	p := &w.seen[at]
	p.asked++
	if err != nil {
		p.failed++
		p.slowest = max(p.slowest, took)
	}
}

const outageTable = "all dead"

func measureOutage(ctx context.Context, s *Stand, r *Result) error {
	t := r.table(outageTable, []string{"the store was"}, Column{"asked before", "requests"},
		Column{"failed before", "requests"}, Column{"asked while dead", "requests"}, Column{"failed while dead", "%"},
		Column{"slowest failure", "ms"}, Column{"first answer after its return", "ms"},
		Column{"asked after that", "requests"}, Column{"failed after that", "requests"})
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			death := []string{"killed", "stopped"}[i]
			s.Tell("%s: all dead: %s", r.Name, death)
			w := &witness{first: -1}
			if err := s.outage(ctx, w, death); err != nil {
				return err
			}
			if err := s.endAll(); err != nil {
				return err
			}
			a, b, c := w.seen[calm], w.seen[dead], w.seen[restored]
			r.check(a.asked > 0 && a.failed < a.asked, "%s: before it %d of %d failed", death, a.failed, a.asked)
			r.check(b.failed > 0, "%s: it is noticed: %d of %d failed", death, b.failed, b.asked)
			r.check(w.first >= 0, "%s: requests are answered again", death)
			t.add([]string{death}, float64(a.asked), float64(a.failed), float64(b.asked),
				100*float64(b.failed)/float64(max(1, b.asked)), milliseconds(b.slowest), milliseconds(w.first),
				float64(c.asked), float64(c.failed))
		}
	}
	for _, c := range []string{"slowest failure", "first answer after its return"} {
		r.draw(Figure{Title: "All dead: " + c, Table: t.Name, Column: c, Over: "the store was", Names: true})
	}
	return nil
}

func (s *Stand) outage(ctx context.Context, w *witness, death string) error {
	length := 2 * second
	if s.Quick {
		length = second
	}
	up, err := s.upstream(ctx, "", "127.0.0.1", never)
	if err != nil {
		return err
	}
	front, err := s.proxied(ctx, "", up.address, "upstreams.default.timeouts.first_byte=500ms")
	if err != nil {
		return err
	}
	// The store is tried again a second after it was left out, then two seconds after that, then four.
	users := crew{
		Address: front.address, Method: "GET", Users: 16, Least: 5 * time.Millisecond, Most: 15 * time.Millisecond,
		Patience: 5 * second, Length: 3*length + 4*second, Seed: s.Seed, each: w.see,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		users.work(ctx)
	}()
	wait := func() { // what happens in a time is seen by waiting
		select {
		case <-time.After(length):
		case <-ctx.Done():
		}
	}
	wait()
	w.turn(dead)
	err = s.strike(up, death)
	wait()
	if err == nil {
		err = s.revive(ctx, up, death)
	}
	w.returned.Store(time.Now().UnixNano())
	w.turn(restored)
	<-done
	return errors.Join(err, context.Cause(ctx))
}

// strike takes the store away.
func (s *Stand) strike(up *process, death string) error {
	if death == "stopped" {
		return up.command.Process.Signal(syscall.SIGSTOP)
	}
	s.forget(up)
	if err := up.command.Process.Signal(os.Kill); err != nil {
		return err
	}
	<-up.ended
	return nil
}

// revive brings it back, at the same address.
func (s *Stand) revive(ctx context.Context, up *process, death string) error {
	if death == "stopped" {
		return up.command.Process.Signal(syscall.SIGCONT)
	}
	_, err := s.upstreamAt(ctx, "", up.address, never)
	return err
}

func judgePool(r *Result) Verdict {
	v := judgeHop(r)
	t := r.find(outageTable)
	get := func(column, death string) float64 { return t.median(column, death) }
	v.Why += fmt.Sprintf(" When all pooled connections died with their store, requests failed after %.0f ms at most "+
		"(killed) and %.0f ms (stopped); the first one was answered %.0f and %.0f ms after its return, and %.0f and %.0f of "+
		"%.0f and %.0f failed from then on.", get("slowest failure", "killed"), get("slowest failure", "stopped"),
		get("first answer after its return", "killed"), get("first answer after its return", "stopped"),
		get("failed after that", "killed"), get("failed after that", "stopped"), get("asked after that", "killed"),
		get("asked after that", "stopped"))
	return v
}
