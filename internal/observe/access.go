package observe

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/web"
)

// Format is how a line of the access log is written.
type Format uint8

// The formats. Times are UTC in both.
const (
	// JSON is a line as slog.JSONHandler writes it.
	JSON Format = iota
	// Combined is the line that web servers have written since the nineties, without the two names of a user.
	Combined
)

const (
	// shards is how many buffers threads spread over, so that they seldom meet.
	shards = 8
	// gatherTime is how long lines are gathered before they are written in one call.
	gatherTime = 100 * time.Millisecond
	// complainTime is the least time between two complaints about lines that were dropped.
	complainTime = time.Second
	// longestLine is more than a line can take: long values are cut.
	longestLine = 4 << 10
)

// AccessOptions is what an access log is made of.
type AccessOptions struct {
	// Format of the lines.
	Format Format
	// Output is written to by one goroutine at a time, and each Write holds whole lines.
	Output io.Writer
	// BufferBytes is how much may wait to be written: lines beyond it are dropped and counted. 4 MiB if zero.
	BufferBytes int
	// Log is told how many lines were dropped or could not be written, at most once a second.
	Log *slog.Logger
}

// AccessLog writes one line for each request that it is told about. It never blocks a loop: lines go into bounded
// memory, a goroutine of its own writes them, and what finds the memory full is dropped and counted. It writes what
// web.Record holds and so no credentials, cookies or content. To rotate a file, give it a [LogFile] and reopen that.
type AccessLog struct {
	options AccessOptions
	shards  [shards]shard
	dropped atomic.Int64 // lines that found no room
	failed  atomic.Int64 // lines that could not be written
	wake    chan struct{}
	urgent  chan struct{}
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	// The writer's own.
	spare      []byte
	complained time.Time
	told       int64
	failure    error
}

// shard is one buffer. Its lock is held for the time of writing one line into memory, or of taking the memory away.
type shard struct {
	mu     sync.Mutex
	buffer []byte
	lines  int64
	clock  stamp
	closed bool
	_      [64]byte // keeps two locks out of one cache line
}

// NewAccessLog starts an access log. It must be closed.
func NewAccessLog(o AccessOptions) *AccessLog {
	if o.BufferBytes <= 0 {
		o.BufferBytes = 4 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &AccessLog{
		options: o, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	go a.write()
	return a
}

// Log takes a line. It is called on the threads of connections, by many at once.
func (a *AccessLog) Log(r *web.Record) { add(a, r.Connection, r, appendJSON, appendCombined) }

// add adds a line of a record, in the format of the log.
func add[R any](a *AccessLog, connection uint64, r *R, asJSON, asCombined func([]byte, *R, *stamp) []byte) {
	s, before := a.begin(connection)
	if s == nil {
		return
	}
	if a.options.Format == JSON {
		s.buffer = asJSON(s.buffer, r, &s.clock)
	} else {
		s.buffer = asCombined(s.buffer, r, &s.clock)
	}
	a.end(s, before)
}

// begin locks a shard that has room for a line; nil: there is none.
func (a *AccessLog) begin(connection uint64) (s *shard, before int) {
	s = a.lock(connection)
	room := a.options.BufferBytes / shards
	before = len(s.buffer)
	if s.closed || before+longestLine > room {
		s.mu.Unlock()
		a.dropped.Add(1)
		notify(a.urgent)
		return nil, 0
	}
	if s.buffer == nil {
		s.buffer = make([]byte, 0, min(room, 64<<10))
	}
	return s, before
}

// end unlocks a shard that has got a line.
func (a *AccessLog) end(s *shard, before int) {
	s.lines++
	after, room := len(s.buffer), a.options.BufferBytes/shards
	s.mu.Unlock()
	if before == 0 {
		notify(a.wake)
	}
	if before < room/2 && after >= room/2 {
		notify(a.urgent)
	}
}

// lock takes a shard that nobody holds. When all are held it waits for the first, which is a matter of one line.
func (a *AccessLog) lock(connection uint64) *shard {
	first := connection % shards
	for i := range uint64(shards) {
		if s := &a.shards[(first+i)%shards]; s.mu.TryLock() {
			return s
		}
	}
	s := &a.shards[first]
	s.mu.Lock()
	return s
}

// notify leaves a note for whoever waits on c, unless one lies there already.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped is how many lines were lost for want of room, or because they could not be written.
func (a *AccessLog) Dropped() int64 { return a.dropped.Load() + a.failed.Load() }

// Close writes what waits and ends the log; lines that come later are dropped. It waits for at most d, because the
// output may be stuck.
func (a *AccessLog) Close(d time.Duration) error {
	a.once.Do(func() { close(a.closing) })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-a.ended:
		return a.failure
	case <-timer.C:
		return ErrStuck
	}
}

// write is the goroutine that writes.
func (a *AccessLog) write() {
	defer close(a.ended)
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		select {
		case <-a.wake:
		case <-a.closing:
			for i := range a.shards {
				a.flush(&a.shards[i], true)
			}
			a.complain(true)
			return
		}
		gather.Reset(gatherTime)
		select {
		case <-gather.C:
		case <-a.urgent:
		case <-a.closing:
		}
		for i := range a.shards {
			a.flush(&a.shards[i], false)
		}
		a.complain(false)
	}
}

// flush writes what is in a shard. The shard gets an empty buffer first, so that threads go on meanwhile.
func (a *AccessLog) flush(s *shard, last bool) {
	s.mu.Lock()
	full, lines := s.buffer, s.lines
	s.buffer, s.lines, s.closed = a.spare[:0], 0, last
	s.mu.Unlock()
	a.spare = full
	if len(full) == 0 {
		return
	}
	if _, err := a.options.Output.Write(full); err != nil {
		a.failed.Add(lines)
		a.failure = err
	}
}

// complain tells the operator about lines that are lost.
func (a *AccessLog) complain(last bool) {
	lost := a.Dropped()
	if lost == a.told || !last && time.Since(a.complained) < complainTime {
		return
	}
	if failed := a.failed.Load(); failed > 0 {
		a.options.Log.Warn("the access log cannot be written", "lines_lost", lost-a.told, "lines_lost_in_all", lost,
			"error", a.failure)
	} else {
		a.options.Log.Warn("the access log is too slow: lines were dropped", "lines_lost", lost-a.told,
			"lines_lost_in_all", lost, "fix", "lower access_log.sample, or write to a faster file")
	}
	a.told, a.complained = lost, time.Now()
}
