package static

import (
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// What is remembered is looked at when somebody asks for it. A file that was deleted and that nobody asks for would
// stay open for as long as the server runs, and keep its room on the disk. So the cache is gone through once a
// sweepTime, in sweepParts, for files without a name. The price is an fstat for each open file in that time; threads
// that answer notice nothing of it, and while nothing is open there is no timer either.
const (
	sweepTime  = time.Minute
	sweepParts = 6
)

// sweeper is the timer of a folder.
type sweeper struct {
	mu    sync.Mutex
	timer *time.Timer   // nil: nothing is open
	every time.Duration // between two parts
	next  int           // the shard that comes first in the next part
	ended bool
}

// watch starts the timer if there is something to watch over.
func (f *Files) watch() {
	s := &f.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil && !s.ended && f.open.Load() > 0 {
		s.timer = time.AfterFunc(s.every, f.sweep)
	}
}

// unwatch stops the timer for good.
func (f *Files) unwatch() {
	s := &f.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// sweep goes through one part of the cache, and sets the timer for the next. Nobody waits for it: it holds the lock of
// the timer only at its ends, and that of a shard only to take out what it has found.
func (f *Files) sweep() {
	s, shards := &f.sweeper, f.found.shards
	part := (len(shards) + sweepParts - 1) / sweepParts
	s.mu.Lock()
	first := s.next
	s.next = (first + part) % len(shards)
	s.mu.Unlock()
	for i := range part {
		shards[(first+i)%len(shards)].sweep(f.retire)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
	case f.open.Load() == 0:
		s.timer = nil
	default:
		s.timer.Reset(s.every)
	}
}

// sweep forgets the resources of a shard that have a deleted file open.
func (s *shard) sweep(retire func(*resource)) {
	var deleted []*resource
	if m := s.entries.Load(); m != nil {
		for _, r := range *m {
			if r.deleted() {
				deleted = append(deleted, r)
			}
		}
	}
	if len(deleted) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.copied()
	for _, r := range deleted {
		if m[r.path] == r { // nobody has replaced it meanwhile
			delete(m, r.path)
			retire(r)
		}
	}
	s.entries.Store(&m)
}

// deleted says that one of the files that a resource has open has no name any more.
func (r *resource) deleted() bool {
	if r.plain.deleted() {
		return true
	}
	for _, v := range r.coded {
		if v.deleted() {
			return true
		}
	}
	return false
}

func (v *variant) deleted() bool {
	if v == nil || v.file == nil || !v.file.hold() {
		return false
	}
	defer v.file.Release()
	info, err := v.file.os.Stat()
	return err == nil && sys.Unlinked(info)
}
