package observe

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web"
)

func TestTraceparent(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, c := range []struct {
		text           string
		sampled, sound bool
	}{
		{"00-" + trace + "-" + parent + "-01", true, true},
		{"00-" + trace + "-" + parent + "-00", false, true},
		{"00-" + trace + "-" + parent + "-ff", true, true},
		{"cc-" + trace + "-" + parent + "-01-what comes later", true, true},
		{"cc-" + trace + "-" + parent + "-01.what", false, false},
		{"00-" + trace + "-" + parent + "-01-more", false, false},
		{"ff-" + trace + "-" + parent + "-01", false, false},
		{"00-" + strings.ToUpper(trace) + "-" + parent + "-01", false, false},
		{"00-" + strings.Repeat("0", 32) + "-" + parent + "-01", false, false},
		{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"00-" + trace + "-" + parent + "-0g", false, false},
		{"00_" + trace + "-" + parent + "-01", false, false},
		{"00-" + trace + "-" + parent, false, false},
		{"", false, false},
	} {
		var s span
		if sampled, sound := s.parse([]byte(c.text)); sampled != c.sampled || sound != c.sound {
			t.Errorf("%q: sampled %v, sound %v", c.text, sampled, sound)
		}
	}
	var s span
	fill(s.trace[:])
	fill(s.passed[:])
	line := string(s.AppendParent(nil))
	value, found := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "traceparent: ")
	var back span
	if sampled, sound := back.parse([]byte(value)); !found || !sampled || !sound || back.trace != s.trace ||
		back.parent != s.passed {
		t.Errorf("%q reads back as %x %x", line, back.trace, back.parent)
	}
}

// over is a request that is over and was passed on.
func over() traced {
	now := time.Now()
	return traced{
		span: &span{
			method: "GET", target: "/a", host: "h", began: now,
			trace: [16]byte{1}, own: [8]byte{2}, passed: [8]byte{3},
		},
		ended: now, asked: now, answered: now,
		outcome: web.Outcome{Status: 502, Cause: "reset", Upstream: "u:1", Attempts: 3},
	}
}

// TestTracerSends has a collector look at a message as OTLP has it.
func TestTracerSends(t *testing.T) {
	got := make(chan []byte, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("Content-Type") == "application/json" {
			got <- text
		}
	}))
	defer collector.Close()
	tracer := NewTracer(TraceOptions{URL: collector.URL, Service: "edge", Log: slog.New(slog.DiscardHandler)})
	tracer.send([]traced{over()})
	var message otlpRequest
	if err := json.Unmarshal(<-got, &message); err != nil {
		t.Fatal(err)
	}
	spans := message.ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 2 || spans[0].Kind != kindServer || spans[1].Kind != kindClient ||
		spans[1].ParentID != spans[0].SpanID || spans[0].TraceID != spans[1].TraceID || spans[0].ParentID != "" ||
		len(spans[0].TraceID) != 32 || spans[0].Status == nil || spans[0].Status.Message != "reset" {
		t.Errorf("the spans are %+v", spans)
	}
	if tracer.Exported() != 2 || tracer.Dropped() != 0 {
		t.Errorf("%d spans are exported, %d dropped", tracer.Exported(), tracer.Dropped())
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTracerIsBounded has a collector that refuses, and more spans than the queue holds.
func TestTracerIsBounded(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer collector.Close()
	var log bytes.Buffer
	tracer := NewTracer(TraceOptions{URL: collector.URL, Log: slog.New(slog.NewTextHandler(&log, nil))})
	tracer.send([]traced{over(), over()})
	tracer.send([]traced{over()})
	if tracer.Exported() != 0 || tracer.Dropped() != 6 {
		t.Errorf("%d spans are exported, %d dropped", tracer.Exported(), tracer.Dropped())
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "503") {
		t.Errorf("the log says:\n%s", log.String())
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
}
