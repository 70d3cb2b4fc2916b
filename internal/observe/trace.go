package observe

import (
	"bytes"
	"context"
	"encoding/binary"
	base16 "encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

const (
	// spansQueued is how many requests may wait for the collector.
	spansQueued = 4096
	// spansAtOnce is how many requests are sent in one message, and spansTime how long one waits for others.
	spansAtOnce = 512
	spansTime   = time.Second
	// collectorTime is how long the collector may take to answer.
	collectorTime = 5 * time.Second
	// longestValue is the most bytes of what a client has sent that an attribute holds.
	longestValue = 256
)

// TraceOptions is what a Tracer is made of.
type TraceOptions struct {
	// URL is where spans are posted to.
	URL string
	// Service and Version are those of the server.
	Service, Version string
	// Sample is the share of requests without a parent that are traced.
	Sample float64
	// Log is told when spans are lost, at most once in ten seconds.
	Log *slog.Logger
}

// Tracer makes spans of requests and sends them to a collector. It never blocks a loop: what finds its queue full is
// dropped and counted. It must be closed.
type Tracer struct {
	options  TraceOptions
	client   http.Client
	queue    chan traced
	dropped  atomic.Int64
	exported atomic.Int64
	closing  chan struct{}
	start    sync.Once // of the goroutine that sends
	group    sync.WaitGroup

	complained time.Time // the sender's own
	told       int64
}

// NewTracer makes a tracer.
func NewTracer(o TraceOptions) *Tracer {
	return &Tracer{
		options: o, client: http.Client{Timeout: collectorTime}, queue: make(chan traced, spansQueued),
		closing: make(chan struct{}),
	}
}

// Close sends what waits, if the collector takes it. What comes later is dropped.
func (t *Tracer) Close() error {
	t.start.Do(func() {})
	close(t.closing)
	t.group.Wait()
	t.client.CloseIdleConnections()
	return nil
}

// Dropped is how many spans were lost, and Exported how many the collector took.
func (t *Tracer) Dropped() int64 { return t.dropped.Load() }

// Exported is how many spans the collector took.
func (t *Tracer) Exported() int64 { return t.exported.Load() }

// span is a request that is traced.
type span struct {
	trace          [16]byte
	parent         [8]byte // the client's, if it continues its trace
	own, passed    [8]byte // of the request here, and of it being passed on
	continues      bool
	began          time.Time
	method, target string
	host           string
}

// AppendParent appends the line traceparent of the request that is passed on.
func (s *span) AppendParent(b []byte) []byte {
	b = append(b, "traceparent: 00-"...)
	b = base16.AppendEncode(b, s.trace[:])
	b = append(b, '-')
	b = base16.AppendEncode(b, s.passed[:])
	return append(b, "-01\r\n"...)
}

// Continues says that the trace is the client's.
func (s *span) Continues() bool { return s.continues }

// Begun is for web.Server.Begun: it decides whether a request is traced.
func (t *Tracer) Begun(x *web.Exchange) {
	r := x.Request()
	var s span
	if value, said := r.Field(http1.TraceParent); said {
		sampled, sound := s.parse(value)
		if sound && !sampled {
			return
		}
		s.continues = sound
	}
	if !s.continues && rand.Float64() >= t.options.Sample {
		return
	}
	if !s.continues {
		fill(s.trace[:])
	}
	fill(s.own[:])
	fill(s.passed[:])
	s.began, s.method = time.Now(), r.Method.String()
	if r.Method == http1.Other {
		s.method = "_OTHER"
	}
	s.target, s.host = printable(x.Path()), printable(r.Host())
	x.SetSpan(&s)
}

// parse reads a traceparent, and says whether it is sampled and whether it is one at all (W3C Trace Context, section
// 3.2).
func (s *span) parse(value []byte) (sampled, sound bool) {
	const length = 55
	if len(value) < length || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return false, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		text []byte
	}{{version[:], value[:2]}, {s.trace[:], value[3:35]}, {s.parent[:], value[36:52]}, {flags[:], value[53:55]}} {
		if _, err := base16.Decode(part.to, part.text); err != nil || bytes.ContainsAny(part.text, "ABCDEF") {
			return false, false
		}
	}
	switch {
	case version[0] == 0xff, s.trace == [16]byte{}, s.parent == [8]byte{}:
		return false, false
	case version[0] == 0 && len(value) > length, len(value) > length && value[length] != '-':
		return false, false
	}
	return flags[0]&1 != 0, true
}

// fill makes an ID, which is not zero.
func fill(id []byte) {
	for ; len(id) > 0; id = id[8:] {
		binary.LittleEndian.PutUint64(id, rand.Uint64()|1)
	}
}

// printable is what a client has sent as an attribute may hold it.
func printable(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), longestValue)]), "?")
}

// traced is a request that is over.
type traced struct {
	*span
	ended           time.Time
	outcome         web.Outcome
	client          string
	connection      uint64
	asked, answered time.Time // when it was passed on; zero: it was not
}

// Done is for web.Server.Done: it hands the span of a request over, if it has one.
func (t *Tracer) Done(x *web.Exchange, o *web.Outcome) {
	s, ok := x.Span().(*span)
	if !ok {
		return
	}
	x.SetSpan(nil)
	c := x.Conn()
	over := traced{span: s, ended: time.Now(), outcome: *o, connection: c.ID()}
	if a := x.Remote(); a.IsValid() {
		over.client = a.Addr().String()
	}
	if p := x.Passage(); p.Granted > 0 {
		at := func(moment int64) time.Time { return over.ended.Add(time.Duration(min(moment-c.Now(), 0))) }
		over.asked, over.answered = at(p.Granted), over.ended
		if p.Ended > 0 {
			over.answered = at(p.Ended)
		}
	}
	t.start.Do(func() { t.group.Go(t.run) })
	select {
	case t.queue <- over:
	default:
		t.dropped.Add(over.spans())
	}
}

// spans is how many spans are made of a request.
func (o *traced) spans() int64 {
	if o.asked.IsZero() {
		return 1
	}
	return 2
}

// run is the goroutine that sends.
func (t *Tracer) run() {
	var batch []traced
	ticker := time.NewTicker(spansTime)
	defer ticker.Stop()
	for {
		select {
		case o := <-t.queue:
			if batch = append(batch, o); len(batch) < spansAtOnce {
				continue
			}
		case <-ticker.C:
		case <-t.closing:
			for len(t.queue) > 0 {
				batch = append(batch, <-t.queue)
			}
			t.send(batch)
			return
		}
		t.send(batch)
		clear(batch)
		batch = batch[:0]
	}
}

// send posts spans to the collector. Those that it does not take are lost: the requests of tomorrow are of more use.
func (t *Tracer) send(batch []traced) {
	if len(batch) == 0 {
		return
	}
	n := int64(0)
	for i := range batch {
		n += batch[i].spans()
	}
	err := t.post(t.encode(batch))
	if err == nil {
		t.exported.Add(n)
		return
	}
	t.dropped.Add(n)
	if lost := t.dropped.Load(); time.Since(t.complained) > 10*time.Second {
		t.options.Log.Warn("spans could not be sent to the collector", "spans_lost", lost-t.told,
			"spans_lost_in_all", lost, "endpoint", t.options.URL, "error", err, "fix", "tracing.endpoint, or the collector")
		t.complained, t.told = time.Now(), lost
	}
}

func (t *Tracer) post(text []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), collectorTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, t.options.URL, bytes.NewReader(text))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := t.client.Do(q)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection is used again
	_ = answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", answer.Status)
	}
	return nil
}
