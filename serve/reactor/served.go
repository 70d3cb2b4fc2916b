package reactor

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// served is a listener as the loops serve it. Its slices are by the numbers of the workers; each loop writes its own.
type served struct {
	*serve.Listener
	number   []atomic.Int32         // what each loop calls it; -1 where it does not serve it
	handlers []conn.DatagramHandler // of datagrams
	placed   bool                   // one loop accepts for all
	left     atomic.Bool            // Leave was called: what arrives is refused

	mu          sync.Mutex
	descriptors []int // -1: none, or no longer
}

var errEnded = errors.New("reactor: the site has ended")

// make opens the descriptors of a listener, and takes it among those that are served.
//
// One loop accepts for all where the site says so, or where the kernel cannot spread over the listener's sockets.
// (Loops with duplicates of one socket were tried: real-time signals have one owner for all duplicates, and the other
// loops hear nothing.)
func (r *running) make(l *serve.Listener) (*served, error) {
	n := len(r.workers)
	s := &served{
		Listener: l, number: make([]atomic.Int32, n), handlers: make([]conn.DatagramHandler, n), descriptors: make([]int, n),
		placed: r.site.Accept == serve.OneAcceptor || l.Network == "unix" || l.Alone,
	}
	for i := range s.descriptors {
		s.descriptors[i] = -1
		s.number[i].Store(-1)
	}
	for i := range s.descriptors {
		if i > 0 && s.placed {
			break
		}
		fd, err := l.Open(i)
		if err != nil {
			for j := range i {
				s.release(j)
			}
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		s.descriptors[i] = fd
	}
	all := append(slices.Clone(*r.served.Load()), s)
	r.served.Store(&all)
	return s, nil
}

// open makes the listeners of the site.
func (r *running) open() error {
	r.served.Store(new([]*served))
	for j := range r.site.Listeners {
		if _, err := r.make(&r.site.Listeners[j]); err != nil {
			for i := range r.workers {
				r.release(i)
			}
			return err
		}
	}
	return nil
}

// release closes the descriptors of a worker that no loop has taken.
func (r *running) release(worker int) {
	for _, s := range *r.served.Load() {
		s.release(worker)
	}
}

func (s *served) release(worker int) {
	if fd := s.descriptors[worker]; fd >= 0 {
		_ = sys.Close(fd)
		s.closed(worker)
	}
}

// closed tells the owner of a listener that a descriptor of Open is closed.
func (s *served) closed(worker int) {
	s.mu.Lock()
	was := s.descriptors[worker]
	s.descriptors[worker] = -1
	s.mu.Unlock()
	if was >= 0 && s.Closed != nil {
		s.Closed(worker)
	}
}

// listen gives a loop that does not run yet its listeners. From then on the descriptors are the loop's.
func (r *running) listen(w *worker) error {
	for number, s := range *r.served.Load() {
		if err := s.begin(w, number); err != nil {
			return err
		}
	}
	return nil
}

// begin has a loop serve the listener, on its thread.
func (s *served) begin(w *worker, number int) (err error) {
	i := w.number
	fd, own := s.descriptors[i], 0
	switch {
	case s.Handler != nil:
		if own, err = w.loop.Listen(fd, s.Handler()); err == nil {
			w.loop.Rename(own, number)
		}
	case fd >= 0:
		s.handlers[i] = s.Datagram()
		err = w.loop.ListenDatagrams(fd, s.handlers[i], s.Paused)
	}
	if err != nil {
		return fmt.Errorf("listener %s: %w", s.Name, err)
	}
	s.number[i].Store(int32(own))
	return nil
}

// on runs f on the thread of a loop, and waits for it.
func (r *running) on(w *worker, f func() error) error {
	result := make(chan error, 1)
	if !w.loop.Do(func() { result <- f() }) {
		return errEnded
	}
	select {
	case err := <-result:
		return err
	case <-r.failure:
		return errEnded
	}
}

// Each calls f on the thread of each loop.
func (r *running) Each(f func(d conn.Dialer)) {
	for _, w := range r.workers {
		_ = r.on(w, func() error { f(w.loop.Dialer()); return nil })
	}
}

// Listen serves one more listener.
func (r *running) Listen(l serve.Listener) (int, error) {
	r.steers.Lock()
	defer r.steers.Unlock()
	r.listening.Wait()
	if err := l.Validate(); err != nil {
		return -1, err
	}
	number := len(*r.served.Load())
	s, err := r.make(&l)
	if err != nil {
		return -1, err
	}
	// Who accepts comes last: what it accepts may go to any other.
	for _, w := range slices.Backward(r.workers) {
		if err = r.on(w, func() error { return s.begin(w, number) }); err != nil {
			break
		}
	}
	if err == nil {
		return number, nil
	}
	r.leave(s, 0, nil)
	return -1, err
}

// Resume has a listener of datagrams received from that was paused.
func (r *running) Resume(number int) error {
	r.steers.Lock()
	defer r.steers.Unlock()
	r.listening.Wait()
	s := (*r.served.Load())[number]
	if s.left.Load() || s.Datagram == nil {
		return fmt.Errorf("listener %s: it does not receive datagrams", s.Name)
	}
	for _, w := range r.workers {
		err := r.on(w, func() error {
			if h := s.handlers[w.number]; h != nil {
				return w.loop.ResumeDatagrams(h)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("listener %s: %w", s.Name, err)
		}
	}
	return nil
}

// Leave gives a listener up.
func (r *running) Leave(number int, drain time.Duration, gone func()) {
	r.steers.Lock()
	defer r.steers.Unlock()
	r.listening.Wait()
	if s := (*r.served.Load())[number]; !s.left.Load() {
		r.leave(s, drain, gone)
	}
}

// Succeed has other handlers serve what comes.
func (r *running) Succeed(number int, h func() conn.Handler) error {
	r.steers.Lock()
	defer r.steers.Unlock()
	r.listening.Wait()
	s := (*r.served.Load())[number]
	if s.left.Load() || s.Handler == nil {
		return fmt.Errorf("listener %s: nothing that is accepted there can be served anew", s.Name)
	}
	before := make([]int, len(r.workers))
	for i, w := range r.workers {
		handler := h()
		err := r.on(w, func() error {
			before[i] = int(s.number[i].Load())
			s.number[i].Store(int32(w.loop.Succeed(before[i], handler)))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, w := range r.workers { // nobody places anything under the old numbers any more
		w.loop.Do(func() { w.loop.Retire(before[i]) })
	}
	return nil
}

// leave has the loops give a listener up. Who accepts for all comes first.
func (r *running) leave(s *served, drain time.Duration, gone func()) {
	s.left.Store(true)
	var serving []*worker
	for i, w := range r.workers {
		if s.number[i].Load() >= 0 {
			serving = append(serving, w)
		} else {
			s.release(i)
		}
	}
	var left atomic.Int64
	left.Store(int64(len(serving)))
	last := func() {
		if left.Add(-1) > 0 {
			return
		}
		if s.Handler != nil {
			for _, w := range serving {
				w.loop.Do(func() { w.loop.Retire(int(s.number[w.number].Load())) })
			}
		}
		if gone != nil {
			gone()
		}
	}
	for _, w := range serving {
		i := w.number
		_ = r.on(w, func() error {
			if s.Handler != nil {
				w.loop.Unlisten(int(s.number[i].Load()), drain, last)
				return nil
			}
			if s.handlers[i] != nil {
				w.loop.UnlistenDatagrams(s.handlers[i])
			}
			last()
			return nil
		})
		s.closed(i)
	}
}
