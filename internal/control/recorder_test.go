package control

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// put sends a document to the admin API, and returns the status.
func (s *server) put(path, text string) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://admin"+path, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := s.client.http.Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

// says waits until the log has a text.
func (s *server) says(text string) {
	s.t.Helper()
	deadline, again := time.NewTimer(hang), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for !strings.Contains(s.log.String(), text) {
		select {
		case <-again.C:
		case <-deadline.C:
			s.t.Fatalf("the log does not say %q:\n%s", text, s.log.String())
		}
	}
}

// TestRecorder asks for the events of a connection in the middle of a request, and of one that is idle.
func TestRecorder(t *testing.T) {
	s := serve(t, "routes=[{respond: {body: hello}}]")
	c := s.dial()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHo")); err != nil {
		t.Fatal(err)
	}
	page := s.until("state=active", "an active connection", func(l *List) bool { return l.Matched == 1 })
	var told Events
	s.ask("GET", "/v1/conns/"+page.Connections[0].ID+"/events", "", &told)
	if len(told.Events) != 1 || told.Events[0].Event != "began" || told.Events[0].Detail != "18 bytes" ||
		told.Events[0].At > 0 {
		t.Errorf("the events are %+v", told)
	}
	if _, err := c.Write([]byte("st: a\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	s.until("state=idle", "an idle connection", func(l *List) bool { return l.Matched == 1 })
	s.ask("GET", "/v1/conns/"+page.Connections[0].ID+"/events", "", &told)
	if len(told.Events) != 0 {
		t.Errorf("an idle connection has the events %+v", told)
	}
}

// TestTrace follows one connection, and one client, in a server that records nothing by itself.
func TestTrace(t *testing.T) {
	s := serve(t, "routes=[{respond: {body: hello}}]", "recorder=off")
	first := s.dial()
	page := s.until("", "a connection", func(l *List) bool { return l.Matched == 1 })
	id := page.Connections[0].ID
	if status := s.put("/v1/trace", `{"connection": "`+id+`"}`); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if err := exchange(first, 100); err != nil {
		t.Fatal(err)
	}
	s.says("msg=trace connection=" + id)
	if status := s.put("/v1/trace", `{"client": "127.0.0.0/8"}`); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	second := s.dial()
	if err := exchange(second, 123); err != nil {
		t.Fatal(err)
	}
	s.says(`event=received detail="123 bytes"`)
	var traced Trace
	if err := json.Unmarshal([]byte(s.ask("GET", "/v1/trace", "", nil)), &traced); err != nil {
		t.Fatal(err)
	}
	if len(traced.Connections) != 1 || traced.Connections[0] != id || len(traced.Clients) != 1 {
		t.Errorf("traced: %+v", traced)
	}
	s.ask("DELETE", "/v1/trace", "", &traced)
	if len(traced.Connections)+len(traced.Clients) != 0 {
		t.Errorf("traced: %+v", traced)
	}
	before := strings.Count(s.log.String(), "msg=trace")
	for range 3 {
		if err := exchange(second, 100); err != nil {
			t.Fatal(err)
		}
	}
	s.list("") // the loops have done what was before
	if after := strings.Count(s.log.String(), "msg=trace"); after > before {
		t.Errorf("%d events are traced after the end", after-before)
	}
}

func TestTraceRefusals(t *testing.T) {
	s := serve(t)
	for text, want := range map[string]int{
		`{}`:                                   http.StatusBadRequest,
		`no JSON`:                              http.StatusBadRequest,
		`{"connection": "x"}`:                  http.StatusBadRequest,
		`{"client": "somebody"}`:               http.StatusBadRequest,
		`{"connection": "7", "client": "::1"}`: http.StatusBadRequest,
		`{"connection": "123456"}`:             http.StatusNotFound,
	} {
		if got := s.put("/v1/trace", text); got != want {
			t.Errorf("%s: status %d, want %d", text, got, want)
		}
	}
	for range clientsTraced {
		if got := s.put("/v1/trace", `{"client": "192.0.2.7"}`); got != http.StatusOK {
			t.Fatalf("status %d", got)
		}
	}
	if got := s.put("/v1/trace", `{"client": "192.0.2.8"}`); got != http.StatusConflict {
		t.Errorf("one client too many: status %d", got)
	}
	blocking := serve(t, "engine.model=goroutine")
	if got := blocking.put("/v1/trace", `{"client": "192.0.2.7"}`); got != http.StatusNotImplemented {
		t.Errorf("without loops: status %d", got)
	}
}
