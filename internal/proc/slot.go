package proc

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Slot is a worker's own place on a board. Only the worker writes there.
type Slot struct {
	board  *Board
	number int
	loops  int
}

// SetState says what the worker is doing.
func (s *Slot) SetState(state State) { s.board.own(s.number)[slotState].Store(uint64(state)) }

// Loop is the place of one loop of the worker. It panics for a loop that the worker did not claim.
func (s *Slot) Loop(i int) *LoopCells {
	if i < 0 || i >= s.loops {
		panic(fmt.Sprintf("proc: loop %d of a worker with %d", i, s.loops))
	}
	return &LoopCells{s.board.of(s.number, i)}
}

// LoopCells are the figures of one loop, which it alone writes: a store each, and no lock. They are lent by the board.
type LoopCells struct{ words []atomic.Uint64 }

// Figures are what a loop tells. A gauge says how many there are, a counter how many there have been.
type Figures struct {
	Open     uint64 // gauge: connections
	Accepted uint64 // counter: connections
	Requests uint64 // counter
	Turns    uint64 // counter: how often the loop has waited for the kernel
}

// Show publishes the figures of the loop.
func (c *LoopCells) Show(f Figures) {
	c.words[loopOpen].Store(f.Open)
	c.words[loopAccepted].Store(f.Accepted)
	c.words[loopRequests].Store(f.Requests)
	c.words[loopTurns].Store(f.Turns)
}

// Beat says that the loop is alive now. A loop that has nothing to do sleeps and does not beat, so it has to be woken
// for it: see Pulse.
func (c *LoopCells) Beat() { c.words[loopBeat].Store(uint64(sys.Monotonic())) }

// Report is what stands in a slot.
type Report struct {
	Identity
	State State
	Loops []LoopReport
	Total Figures // of all loops
	// Beat is the oldest beat of a loop, on the clock of Now; 0: one of them has not beaten yet, or there is none.
	Beat time.Duration
}

// LoopReport is what stands there of one loop.
type LoopReport struct {
	Figures
	Beat time.Duration
}

// Now is the clock of beats: it runs from the start of the machine, and is the same in all processes of it.
func Now() time.Duration { return sys.Monotonic() }

// Read copies what stands in a slot. It is not ok when nobody has it, and when its worker died in the act of taking it.
// The figures are of different moments, a few nanoseconds apart.
func (b *Board) Read(slot int) (r Report, ok bool) {
	if b.check(slot) != nil {
		return r, false
	}
	const tries = 8 // a slot changes its worker seldom, and quickly
	own := b.own(slot)
	for range tries {
		sequence := own[slotSequence].Load()
		r = b.read(slot)
		if sequence&1 == 0 && own[slotSequence].Load() == sequence {
			return r, r.PID != 0 && r.State != Vacant
		}
	}
	return Report{}, false
}

func (b *Board) read(slot int) (r Report) {
	own := b.own(slot)
	r.PID, r.Worker = int(own[slotPID].Load()), own[slotWorker].Load()
	r.Generation, r.State = own[slotGeneration].Load(), State(own[slotState].Load())
	r.Started = time.Unix(0, int64(own[slotStarted].Load()))
	loops := min(own[slotLoops].Load(), uint64(b.loops)) // whatever a worker wrote there
	r.Identity.Loops = int(loops)
	r.Loops = make([]LoopReport, loops)
	for i := range r.Loops {
		words, loop := b.of(slot, i), &r.Loops[i]
		loop.Beat = time.Duration(words[loopBeat].Load())
		loop.Figures = Figures{
			Open: words[loopOpen].Load(), Accepted: words[loopAccepted].Load(),
			Requests: words[loopRequests].Load(), Turns: words[loopTurns].Load(),
		}
		r.Total.Open += loop.Open
		r.Total.Accepted += loop.Accepted
		r.Total.Requests += loop.Requests
		r.Total.Turns += loop.Turns
		if i == 0 || loop.Beat < r.Beat {
			r.Beat = loop.Beat
		}
	}
	return r
}

// Pulse has the loops of a worker beat, by posting to each. It never has more than one post under way in a loop, so a
// loop that hangs is not buried under them.
type Pulse struct {
	loops []pulsed
	stop  chan struct{}
	ended chan struct{}
}

type pulsed struct {
	cells   *LoopCells
	post    func(func()) bool
	waiting *atomic.Bool
}

// NewPulse starts to beat every interval. post[i] has a function run by loop i of the slot and tells whether it will
// be, such as the Post of a loop. It must be stopped.
func NewPulse(s *Slot, interval time.Duration, post ...func(func()) bool) *Pulse {
	p := &Pulse{stop: make(chan struct{}), ended: make(chan struct{})}
	for i, f := range post {
		p.loops = append(p.loops, pulsed{s.Loop(i), f, new(atomic.Bool)})
	}
	p.Beat()
	go p.run(interval)
	return p
}

// Beat asks all loops to beat as soon as they can, and does not wait for it. Any goroutine.
func (p *Pulse) Beat() {
	for _, l := range p.loops {
		if l.waiting.Swap(true) {
			continue
		}
		posted := l.post(func() {
			l.cells.Beat()
			l.waiting.Store(false)
		})
		if !posted {
			l.waiting.Store(false)
		}
	}
}

// Stop ends the pulse. A post that is under way must have run before the board is closed.
func (p *Pulse) Stop() {
	close(p.stop)
	<-p.ended
}

func (p *Pulse) run(interval time.Duration) {
	defer close(p.ended)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.Beat()
		case <-p.stop:
			return
		}
	}
}
