package observe

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
)

const (
	// recordsQueued is how many records may wait to be logged.
	recordsQueued = 1024
	// recordsPerSecond is how many failures are logged in a second, so that an outage does not fill a disk. Traces are
	// asked for, and are not held to it.
	recordsPerSecond = 10
)

// Recorder logs the last events of connections and answers that failed, and every event of those that somebody traces.
// It never blocks a loop: what finds its queue full is dropped and counted. It must be closed.
type Recorder struct {
	log     *slog.Logger
	queue   chan entry
	dropped atomic.Int64
	closing chan struct{}
	start   sync.Once // of the goroutine that logs: most servers have nothing to log
	group   sync.WaitGroup

	second int64 // the writer's own: which one it is, how many were logged in it, and how many were not
	logged int
	spared int
}

// entry is something to be logged.
type entry struct {
	message string
	level   slog.Level
	fields  []slog.Attr
	free    bool // of the limit
}

// NewRecorder makes a recorder.
func NewRecorder(log *slog.Logger) *Recorder {
	return &Recorder{log: log, queue: make(chan entry, recordsQueued), closing: make(chan struct{})}
}

// Close logs what waits. What comes later is dropped.
func (r *Recorder) Close() error {
	r.start.Do(func() {})
	close(r.closing)
	r.group.Wait()
	return nil
}

// Dropped is how many records found the queue full.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

func (r *Recorder) put(e entry) {
	r.start.Do(func() { r.group.Go(r.write) })
	select {
	case r.queue <- e:
	default:
		r.dropped.Add(1)
	}
}

// clientGone is web's word for an answer whose client did not wait for it.
const clientGone = "client_gone"

// severity is the level of a failure. What a client does as it likes, to reset its connection or to go before its
// answer is over, is for those who look for it: a client that is done often does nothing else.
func severity(client bool) slog.Level {
	if client {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// wants reports that somebody reads what is logged at a level.
func (r *Recorder) wants(level slog.Level) bool { return r.log.Enabled(context.Background(), level) }

// Ended is conn.Recording.Ended. What the server itself wanted to end is not told; nor is a connection to an upstream
// that was given up for what happened on it, because the answer that failed tells of it.
func (r *Recorder) Ended(c *conn.Record, events []conn.Event) {
	switch c.Why {
	case conn.ErrOperator, conn.ErrStopping, conn.ErrPressure, conn.ErrMoved:
		return
	case conn.ErrAborted:
		if c.Listener < 0 {
			return
		}
	}
	code := EndCode(c.Why)
	level := severity(c.Listener >= 0 && (code == "reset" || code == "broken_pipe"))
	if len(events) == 0 || !r.wants(level) {
		return
	}
	fields := []slog.Attr{slog.Uint64("connection", c.ID), slog.String("cause", code), slog.Any("error", c.Why)}
	if c.Remote.IsValid() {
		fields = append(fields, slog.String("peer", c.Remote.String()))
	}
	fields = append(fields, slog.Bool("dialled", c.Listener < 0), slog.String("events", EventsText(events)))
	r.put(entry{message: "a connection failed", level: level, fields: fields})
}

// Traced is conn.Recording.Traced.
func (r *Recorder) Traced(id uint64, e conn.Event) {
	what, detail := Describe(e)
	r.put(entry{message: "trace", free: true, fields: []slog.Attr{
		slog.Uint64("connection", id), slog.Float64("seconds", e.Time().Seconds()), slog.String("event", what),
		slog.String("detail", detail),
	}})
}

// Failed tells of an answer that failed, with the last events of the client's connection and of that to the upstream.
// It is called on the thread of the connection.
func (r *Recorder) Failed(x *web.Exchange, o *web.Outcome) {
	noter, ok := x.Conn().(conn.Noter)
	level := severity(o.Cause == clientGone)
	if !ok || !r.wants(level) {
		return
	}
	var kept [conn.EventsKept]conn.Event
	events := noter.Recall(kept[:0])
	if len(events) == 0 {
		return
	}
	fields := []slog.Attr{
		slog.Uint64("connection", x.Conn().ID()), slog.Int("status", o.Status), slog.String("cause", o.Cause),
		slog.String("upstream", o.Upstream), slog.Int("attempts", o.Attempts), slog.String("events", EventsText(events)),
	}
	if asked := noter.RecallAsked(kept[:0]); len(asked) > 0 {
		fields = append(fields, slog.String("upstream_events", EventsText(asked)))
	}
	r.put(entry{message: "an answer failed", level: level, fields: fields})
}

// write is the goroutine that logs.
func (r *Recorder) write() {
	for {
		select {
		case e := <-r.queue:
			r.tell(&e)
		case <-r.closing:
			for len(r.queue) > 0 {
				e := <-r.queue
				r.tell(&e)
			}
			return
		}
	}
}

// tell logs, unless enough was logged in this second.
func (r *Recorder) tell(e *entry) {
	if now := time.Now().Unix(); now != r.second {
		if r.spared > 0 {
			r.log.Info("more failures were not logged", "failures", r.spared,
				"see", "GET /v1/closed, and the access log")
		}
		r.second, r.logged, r.spared = now, 0, 0
	}
	if !e.free {
		if r.logged >= recordsPerSecond {
			r.spared++
			return
		}
		r.logged++
	}
	r.log.LogAttrs(context.Background(), e.level, e.message, e.fields...)
}

// EventsText is events in one line, with their times before the last of them.
func EventsText(events []conn.Event) string {
	var b strings.Builder
	for _, e := range events {
		what, detail := Describe(e)
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString((e.Time() - events[len(events)-1].Time()).String())
		b.WriteString(" ")
		b.WriteString(what)
		if detail != "" {
			b.WriteString(" ")
			b.WriteString(detail)
		}
	}
	return b.String()
}

// Describe says what happened, in a word, and more about it.
func Describe(e conn.Event) (what, detail string) {
	what = e.Kind().String()
	switch e.Kind() {
	case conn.Began, conn.Got, conn.Gave, conn.Drains:
		detail = strconv.FormatUint(e.Number, 10) + " bytes"
	case conn.Asks, conn.Serves:
		detail = "connection " + strconv.FormatUint(e.Number, 10)
	case conn.Answered:
		return what, fmt.Sprintf("%d, %d bytes", e.Code(), e.Number)
	}
	if why := conn.ErrorOf(e.Code()); why != nil {
		detail = strings.TrimSpace(strings.TrimPrefix(detail, "0 bytes") + " " + why.Error())
	}
	return what, detail
}
