package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/myriad-server/myriad/internal/proc"
)

// link is the way to one worker: orders go there, and answers come back.
type link struct {
	place   Place
	child   *proc.Child
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan Answer
	closed  bool

	// Under the fleet's lock:
	version uint64 // of the work that it has
	serves  bool
	leaves  bool
	more    map[int]bool // seats that nobody has, whose sockets it serves
	awaits  map[int]ID   // who serves the sockets of its seats yet, and is to hand over
}

var errLost = errors.New("the worker has ended before it answered")

func newLink(p Place, child *proc.Child, version uint64) *link {
	return &link{
		place: p, child: child, waiting: map[uint64]chan Answer{}, version: version,
		more: map[int]bool{}, awaits: map[int]ID{},
	}
}

// order sends an order, and waits for the answer.
func (l *link) order(ctx context.Context, o Order, descriptors []int) (Answer, error) {
	answer := make(chan Answer, 1)
	l.mu.Lock()
	l.last++
	o.ID = l.last
	closed := l.closed
	if !closed {
		l.waiting[o.ID] = answer
	}
	l.mu.Unlock()
	if closed {
		return Answer{}, errLost
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waiting, o.ID)
	}()
	if err := sendParts(ctx, l.child.Control(), KindOrder, o, descriptors); err != nil {
		return Answer{}, err
	}
	select {
	case a, ok := <-answer:
		switch {
		case !ok:
			return a, errLost
		case a.Error != "":
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-ctx.Done():
		return Answer{}, fmt.Errorf("worker %d has not answered: %w", l.place.Worker, ctx.Err())
	}
}

// listen passes on answers until the worker has ended.
func (l *link) listen() {
	var coming parts
	for {
		m, err := l.child.Control().Receive(context.Background())
		var version *proc.VersionError
		switch {
		case errors.Is(err, proc.ErrFrame), errors.Is(err, proc.ErrDescriptorsLost), errors.As(err, &version):
			continue
		case err != nil:
			l.end()
			return
		case m.Kind != KindAnswer:
			m.Close()
			continue
		}
		var a Answer
		descriptors, whole, err := coming.add(m, &a)
		proc.Message{Descriptors: descriptors}.Close()
		if err == nil && whole {
			l.mu.Lock()
			if waits := l.waiting[a.ID]; waits != nil {
				waits <- a
				delete(l.waiting, a.ID)
			}
			l.mu.Unlock()
		}
	}
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for id, waits := range l.waiting {
		close(waits)
		delete(l.waiting, id)
	}
}
