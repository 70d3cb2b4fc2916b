package front

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// window is how many messages to a worker are under way: one, and one that it finds when it is done with that. What
	// is under way cannot be given to another before the worker dies, and what waits here can.
	window = 2
	// mostTogether is how many connections go in one message. More save nothing, and who takes them is kept from others.
	mostTogether = 64
)

// worker is a Worker with what is under way to it. All but the first is under Acceptor.mu.
type worker struct {
	Worker
	of *Acceptor

	wake    *sync.Cond // for who sends
	queue   []arrival
	flying  []flight // messages without an answer, the oldest first
	number  uint64   // of the last message
	leaves  bool     // it is given nothing more
	gone    bool     // its channel is at its end
	full    time.Time
	allowed int // connections that it may have waiting: fewer after it was full
	stuck   bool
	patient *time.Timer // while something is under way

	busyness
}

// flight is a message that has no answer yet.
type flight struct {
	number   uint64
	arrivals []arrival
}

// Join has a worker be given connections from now on. When its channel is at its end, because it has died as a rule,
// it is given none any more.
func (a *Acceptor) Join(of Worker) {
	w := &worker{Worker: of, of: a, wake: sync.NewCond(&a.mu), allowed: mostQueued, busyness: busyness{shown: of.Shown}}
	w.patient = time.AfterFunc(time.Hour, w.suspect)
	w.patient.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		of.Channel.Close()
		return
	}
	a.workers = append(a.workers, w)
	a.build()
	a.group.Go(w.send)
	a.group.Go(w.receive)
	a.lookAgain()
}

// Retire has a worker be given nothing any more; what waits for it goes to others. It may be gone already.
func (a *Acceptor) Retire(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		if w.ID == id {
			a.retire(w)
			return
		}
	}
}

// retire is Retire, under mu.
func (a *Acceptor) retire(w *worker) {
	a.remove(w)
	w.leaves, a.leaving[w] = true, true
	if len(a.workers) > 0 {
		a.rehome(w.takeQueue())
	} // or it is the last: what waits for it still goes there
	w.wake.Signal()
}

// remove has nothing be placed with a worker any more.
func (a *Acceptor) remove(w *worker) {
	a.workers = slices.DeleteFunc(a.workers, func(other *worker) bool { return other == w })
	a.build()
}

// rehome gives connections to other workers.
func (a *Acceptor) rehome(list []arrival) {
	for _, c := range list {
		a.settle(c)
	}
}

// lose is the end of a worker's channel: what it has not taken goes to others.
func (a *Acceptor) lose(w *worker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.gone {
		return
	}
	w.gone = true
	a.remove(w)
	delete(a.leaving, w)
	w.patient.Stop()
	w.Channel.Close()
	list := w.takeQueue()
	for _, f := range w.flying {
		list = append(list, f.arrivals...)
	}
	w.flying = nil
	a.rehome(list)
	w.wake.Broadcast()
	a.room.Broadcast()
}

// takes reports that the worker may be given one more.
func (w *worker) takes() bool {
	if w.stuck || w.leaves || w.gone || !w.full.IsZero() && time.Now().Before(w.full) {
		return false
	}
	waiting := len(w.queue)
	for _, f := range w.flying {
		waiting += len(f.arrivals)
	}
	return waiting < w.allowed
}

// give has a connection wait for the worker.
func (w *worker) give(c arrival) {
	w.given++
	w.queue = append(w.queue, c)
	w.wake.Signal()
}

func (w *worker) takeQueue() []arrival {
	list := w.queue
	w.queue = nil
	w.given -= int64(len(list))
	return list
}

// send sends what waits, in as few messages as may be.
func (w *worker) send() {
	descriptors := make([]int, 0, mostTogether)
	for {
		m, ok := w.next(descriptors[:0])
		if !ok {
			return
		}
		// A channel that is closed ends this, and a worker that does not read is found out by its answers that are late.
		if w.Channel.Send(context.Background(), m) != nil {
			w.of.lose(w)
			return
		}
		if m.Kind == kindDone {
			return
		}
	}
}

// next waits for what is to be sent. It is not ok when nothing will be.
func (w *worker) next(descriptors []int) (m proc.Message, ok bool) {
	a := w.of
	a.mu.Lock()
	defer a.mu.Unlock()
	for !w.gone && (len(w.flying) >= window || len(w.queue) == 0 && !w.leaves) {
		w.wake.Wait()
	}
	switch {
	case w.gone:
		return m, false
	case len(w.queue) == 0:
		return proc.Message{Kind: kindDone}, true
	}
	n := 1
	for n < min(len(w.queue), mostTogether) && w.queue[n].at == w.queue[0].at {
		n++
	}
	w.number++
	f := flight{number: w.number, arrivals: slices.Clone(w.queue[:n])}
	w.queue = w.queue[:copy(w.queue, w.queue[n:])]
	for _, c := range f.arrivals {
		descriptors = append(descriptors, c.fd)
	}
	if w.flying = append(w.flying, f); len(w.flying) == 1 {
		w.patient.Reset(stuckTime)
	}
	return connections(w.number, f.arrivals[0].at, descriptors), true
}

// receive hears what the worker answers.
func (w *worker) receive() {
	for {
		m, err := w.Channel.Receive(context.Background())
		var taken []arrival
		if err == nil {
			taken, err = w.heard(m)
		}
		if err != nil {
			w.of.lose(w)
			return
		}
		for _, c := range taken { // the worker has its own by now
			_ = sys.Close(c.fd)
		}
	}
}

// heard acts on an answer, and returns what is to be closed here: what the worker has taken.
func (w *worker) heard(m proc.Message) (taken []arrival, err error) {
	a := w.of
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Kind == kindBack {
		w.refused()
		for _, fd := range m.Descriptors {
			taken = append(taken, arrival{fd, string(m.Payload)})
		}
		if a.listeners[string(m.Payload)] == nil && !a.closed {
			return taken, nil // it was left, and so nobody will serve them
		}
		a.rehome(taken)
		return nil, nil
	}
	m.Close()
	number, _, ok := numberOf(m.Payload)
	if !ok || len(w.flying) == 0 || w.flying[0].number != number {
		return nil, ErrProtocol
	}
	was := w.stuck || len(a.homeless) > 0 || !w.takes()
	list := w.flying[0].arrivals
	w.flying, w.stuck = w.flying[1:], false
	if w.patient.Stop(); len(w.flying) > 0 {
		w.patient.Reset(stuckTime)
	}
	switch m.Kind {
	case kindTaken:
		taken, w.allowed = list, min(2*w.allowed, mostQueued)
	case kindLost:
		w.refused()
		a.rehome(list)
	default:
		return nil, fmt.Errorf("%w: message of kind %d", ErrProtocol, m.Kind)
	}
	w.wake.Signal()
	if was {
		a.lookAgain()
	}
	return taken, nil
}

// refused is the answer of a worker that is full: it is asked with a single one in a moment, and given more by and by.
func (w *worker) refused() {
	w.full, w.allowed = time.Now().Add(fullTime), 1
	w.of.recheck.Reset(fullTime)
}

// suspect finds that a worker has not answered for a while.
func (w *worker) suspect() {
	a := w.of
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.gone || len(w.flying) == 0 {
		return
	}
	w.stuck = true
	a.log.Warn("a worker takes no connections", "worker", w.ID, "waiting", len(w.queue), "under_way", len(w.flying))
	a.rehome(w.takeQueue())
}
