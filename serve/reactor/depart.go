package reactor

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/loop"
	"github.com/myriad-server/myriad/serve"
)

// errDeparting refuses a second departure beside the first.
var errDeparting = errors.New("reactor: connections are leaving already")

// Arrive goes on with a connection of another process.
func (r *running) Arrive(p *conn.Parcel) error { return r.ArriveMany([]*conn.Parcel{p})[0] }

// ArriveMany spreads connections of another process over the loops.
func (r *running) ArriveMany(parcels []*conn.Parcel) []error {
	r.listening.Wait()
	errs := make([]error, len(parcels))
	shares := make([][]int, len(r.workers))
	for at, p := range parcels {
		if i := r.loopFor(p); i >= 0 {
			shares[i] = append(shares[i], at)
		} else {
			errs[at] = serve.ErrNotPortable
		}
	}
	done := make(chan struct{}, len(r.workers))
	asked := 0
	for i, share := range shares {
		if len(share) == 0 {
			continue
		}
		w := r.workers[i]
		w.given.Add(int64(len(share)))
		arrive := func() {
			for _, at := range share {
				errs[at] = r.arriveAt(w, parcels[at])
			}
			done <- struct{}{}
		}
		if w.loop.Do(arrive) {
			asked++
			continue
		}
		for _, at := range share {
			errs[at] = conn.ErrStopping
		}
	}
	for range asked {
		select {
		case <-done:
		case <-r.failure: // nobody knows any more whose the descriptors are
			return errs
		}
	}
	for at, err := range errs {
		if errors.Is(err, serve.ErrFull) {
			errs[at] = r.arriveElsewhere(parcels[at])
		}
	}
	return errs
}

// loopFor is the number of the loop for a connection that arrives; -1 if there is nothing to serve it with. A session
// of datagrams goes to the loop of the same number as before, if there is one: its socket of those that share the
// address is where the kernel sends what the client sends.
func (r *running) loopFor(p *conn.Parcel) int {
	all := *r.served.Load()
	switch {
	case p.Listener < 0 || p.Listener >= len(all):
		return -1
	case all[p.Listener].Handler != nil:
		return max(r.picker.Pick(r.turn.Add(1), nil), 0)
	case len(p.State) < workerBytes:
		return -1
	case all[p.Listener].placed:
		return 0
	}
	return int(binary.LittleEndian.Uint16(p.State)) % len(r.workers)
}

// workerBytes is what stands before the state of a session of datagrams: the number of its worker.
const workerBytes = 2

// arriveAt is for the loop's thread. The connection counts as given already.
func (r *running) arriveAt(w *worker, p *conn.Parcel) error {
	s := (*r.served.Load())[p.Listener]
	if s.left.Load() { // its number may be another's by now
		w.given.Add(-1)
		return conn.ErrStopping
	}
	if s.Datagram != nil {
		w.given.Add(-1)
		state := p.State
		defer func() { p.State = state }()
		p.State = state[workerBytes:]
		return w.loop.ArriveSession(s.handlers[w.number], p)
	}
	err := w.loop.Arrive(int(s.number[w.number].Load()), p)
	if err != nil {
		w.given.Add(-1)
	}
	return err
}

// arriveElsewhere asks all loops for one that has room.
func (r *running) arriveElsewhere(p *conn.Parcel) (err error) {
	for _, w := range r.workers {
		w.given.Add(1)
		if err = r.on(w, func() error { return r.arriveAt(w, p) }); !errors.Is(err, serve.ErrFull) {
			return err
		}
	}
	return err
}

// Depart has connections leave for another process. Who accepts for all gives that up first.
func (r *running) Depart(d serve.Departure) (stop func(), err error) {
	r.steers.Lock()
	defer r.steers.Unlock()
	r.listening.Wait()
	if r.departing.Swap(true) {
		return nil, errDeparting
	}
	gone := make(chan struct{}, len(r.workers)*len(*r.served.Load()))
	asked := 0
	for _, w := range r.workers {
		if err = r.departFrom(w, d, func() { gone <- struct{}{} }, &asked); err != nil {
			break
		}
	}
	if err == nil {
		r.awaitSessions(gone, asked)
	}
	end := sync.OnceFunc(func() {
		for _, w := range r.workers {
			_ = r.on(w, func() error { w.loop.EndDeparture(); return nil })
		}
		r.departing.Store(false)
	})
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// sessionsLimit is how long sessions of datagrams are waited for. They leave within milliseconds, but for those whose
// server does not take what they have for it: these follow.
const sessionsLimit = time.Second

// awaitSessions waits until the sessions of so many handlers of datagrams have left.
func (r *running) awaitSessions(gone <-chan struct{}, handlers int) {
	limit := time.NewTimer(sessionsLimit)
	defer limit.Stop()
	for range handlers {
		select {
		case <-gone:
		case <-limit.C:
			return
		case <-r.failure:
			return
		}
	}
}

// departFrom has connections leave from one loop, and returns when the listening sockets are closed. gone is called, as
// often as is added to asked, when all sessions of datagrams of one handler have left.
func (r *running) departFrom(w *worker, d serve.Departure, gone func(), asked *int) error {
	closed := make(chan struct{})
	var left []*served
	err := r.on(w, func() error {
		if err := w.loop.Depart(loop.Departure(d), func() { close(closed) }); err != nil {
			return err
		}
		for number, s := range *r.served.Load() {
			switch h := s.handlers[w.number]; {
			case d.Only != nil && !d.Only(number):
			case s.Handler != nil:
				left = append(left, s)
			case h != nil:
				*asked++
				w.loop.DepartDatagrams(h, number, func(p *conn.Parcel) {
					p.State = append(binary.LittleEndian.AppendUint16(nil, uint16(w.number)), p.State...)
					d.Take(p)
				}, gone)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-closed:
	case <-r.failure:
	}
	for _, s := range left {
		s.closed(w.number)
	}
	return nil
}
