package app

import (
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/proc"
)

// pulseEvery is how often a loop that sleeps is woken to show that it is alive.
const pulseEvery = time.Second

// Boarded is how many loops a server of the plan shows on a board: a model without loops shows one, that of the
// process.
func (p *Plan) Boarded() int { return max(p.Loops, 1) }

// Pulse has the loops of a server that is ready beat on the board, and show there what they have counted. What is read
// are the counters that each loop publishes anyway. It must be stopped before the loops end.
func (a *App) Pulse(s *proc.Slot) *proc.Pulse {
	var posts []func(func()) bool
	a.steering.Each(func(d conn.Dialer) { posts = append(posts, d.Do) })
	if len(posts) == 0 { // no loop can be asked whether it is alive; the process can
		posts = append(posts, func(f func()) bool { f(); return true })
	}
	for i, post := range posts {
		cells := s.Loop(i)
		posts[i] = func(beat func()) bool {
			figures := a.figures(i, len(posts))
			return post(func() {
				cells.Show(figures)
				beat()
			})
		}
	}
	return proc.NewPulse(s, pulseEvery, posts...)
}

// ShowLast shows the figures of a worker that has served: what is still open then was lost with it. It has a number of
// loops.
func (a *App) ShowLast(s *proc.Slot, loops int) {
	for i := range loops {
		s.Loop(i).Show(a.figures(i, loops))
	}
	s.SetState(proc.Leaving)
}

// Turn returns when every loop has turned; under models without loops at once.
func (a *App) Turn() error {
	if a.steering == nil {
		return ErrNotServing
	}
	a.steering.Each(func(conn.Dialer) {})
	return nil
}

// figures are those of a loop. Requests are counted in other places than by loop, and the first loop shows all.
func (a *App) figures(loop, loops int) proc.Figures {
	var f proc.Figures
	for i, counts := range a.counters.Workers() {
		if loops > 1 && i != loop {
			continue
		}
		f.Open += uint64(max(counts[meter.Open], 0))
		f.Accepted += uint64(counts[meter.Accepted])
		f.Turns += uint64(counts[meter.Turns])
	}
	if loop == 0 {
		f.Requests = uint64(a.counters.Total()[meter.Requests])
	}
	return f
}
