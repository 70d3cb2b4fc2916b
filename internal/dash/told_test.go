package dash_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/dash/browser"
)

// told are documents by the patterns of who asks for them; one that begins with "event:" is a stream of events.
type told map[string]string

// serve answers with them, and with the page, at an address, until end is called.
func (d told) serve(t *testing.T, address string) (at string, end func()) {
	t.Helper()
	mux := pages()
	for pattern, document := range d {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(document, "event:") {
				w.Header().Set("Content-Type", "text/event-stream")
			}
			_, _ = w.Write([]byte(document))
			if strings.HasPrefix(document, "event:") {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
		})
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	end = func() { _ = server.Close(); <-done }
	t.Cleanup(end)
	return listener.Addr().String(), end
}

// proxying is what a server tells that passes on requests and datagrams.
func proxying() told {
	return told{
		"GET /v1/status": `{"version": "1", "pid": 1, "model": "reactor", "driver": "uring", "listeners": [],
			"capacity": {"connections": 9, "first_wall": "descriptors"}, "connections": {"open": 1},
			"streams": [{"listener": "udp://127.0.0.1:53", "counts": {"sessions": 9, "sessions_open": 3,
				"sessions_refused": 2}}]}`,
		"GET /v1/conns": `{"open": 1, "matched": 1, "states": {"active": 1}, "connections": [{"id": "7",
			"state": "active", "protocol": "http", "peer": "192.0.2.1:50", "age_seconds": 1, "quiet_seconds": 0,
			"received_bytes": 1, "sent_bytes": 1, "queued_bytes": 0, "requests": 1}]}`,
		"GET /v1/conns/7/events": `{"connection": "7", "events": [{"at_seconds": -2, "event": "paused",
			"detail": "no block"}]}`,
		"GET /v1/upstreams": `{"drained": {}, "upstreams": [{"name": "app", "policy": "round_robin", "waiting": 0,
			"counts": {"acquired": 200, "reused": 150}, "endpoints": [{"address": "a:1", "name": "a:1", "state": "up",
			"open": 1, "leased": 1, "idle": 0}]}, {"name": "listeners[0]", "policy": "maglev", "waiting": 0,
			"counts": {"acquired": 9}, "endpoints": []}]}`,
		"GET /v1/config": `{"routes": [{"prefix": "/", "proxy": {"upstream": "app"}}],
			"listeners": [{"address": "udp://127.0.0.1:53", "protocol": "udp"}]}`,
		"GET /v1/sessions": `{"open": 3, "matched": 3, "sessions": [{"id": "0-5", "listener": "udp://127.0.0.1:53",
			"peer": "192.0.2.9:40", "endpoint": "b:2", "reached": false, "age_seconds": 5, "quiet_seconds": 1,
			"received_datagrams": 4, "received_bytes": 400, "sent_datagrams": 0, "sent_bytes": 0}]}`,
		"DELETE /v1/sessions/0-5": `{}`,
		"GET /v1/causes":          `[]`,
		"GET /v1/closed":          `{"closed": [{"cause": "reset", "peer": "192.0.2.8:40", "error": "reset by peer"}]}`,
		"GET /v1/doctor":          `{"well": [], "notes": [], "findings": []}`,
		"GET /v1/events": "event: figures\ndata: " + `{"time": "2026-11-22T10:00:00Z", "open": 1,` +
			`"loops": [], "responses_per_second": {}}` + "\n\n",
	}
}

// TestTrafficOfProxies tells how much of what a pool gave had been used, lists sessions of datagrams and ends one, and
// tells what happened to a connection last.
func TestTrafficOfProxies(t *testing.T) {
	b := browser.Start(t)
	server := proxying()
	at, _ := server.serve(t, "127.0.0.1:0")
	p := b.Open("http://"+at, browser.Look{Width: 1400, Height: 900})
	p.Await("document.querySelector('#upstreams .map').textContent.includes('75 % reused')")
	p.Await("document.querySelector('#upstreams .map').textContent.includes('udp listener, 3 sessions')")
	p.Await("!document.getElementById('sessions').hidden")
	p.Await("document.querySelector('#sessions tbody').textContent.includes('192.0.2.9:40b:2 (not reached)')")
	p.Await("document.querySelector('#sessions .soft').textContent.includes('2 refused')")
	p.Eval("document.querySelector('#sessions .close').click()")
	p.Await("document.getElementById('dialog-title').textContent === 'End this session?'")
	p.Press("Enter")
	p.Await("performance.getEntriesByType('resource').some((e) => e.name.endsWith('/v1/sessions/0-5'))")
	p.Await("!document.getElementById('dialog').open && document.getElementById('alarm').hidden")
	p.Eval("document.activeElement.blur()")
	p.Press("j")
	p.Press("Enter")
	p.Await("document.querySelector('#dialog .events').textContent === '2.0 s agopaused, no block'")
	if bad := p.Complaints(); len(bad) > 0 {
		t.Errorf("the page complains: %q", bad)
	}
}

// TestServerGoesAway says so, leaves the last figures, and goes on by itself with what another process tells.
func TestServerGoesAway(t *testing.T) {
	b := browser.Start(t)
	server := proxying()
	at, end := server.serve(t, "127.0.0.1:0")
	p := b.Open("http://"+at, browser.Look{Width: 1400, Height: 900})
	p.Await(rows + " === 1 && document.querySelectorAll('#ended tbody tr').length === 1")
	p.Await("document.getElementById('link').dataset.state === 'live'")
	end()
	p.Await("document.body.classList.contains('stale')")
	p.Await("document.getElementById('alarm').textContent.startsWith('The server has not answered since')")
	p.Await("document.querySelector('#tiles b').textContent === '1'")

	server["GET /v1/status"] = strings.ReplaceAll(server["GET /v1/status"], `"pid": 1`, `"pid": 2`)
	server["GET /v1/conns"] = `{"open": 0, "matched": 0, "states": {}, "connections": []}`
	server["GET /v1/config"] = strings.ReplaceAll(server["GET /v1/config"], `"prefix": "/"`, `"prefix": "/new/"`)
	server["GET /v1/closed"] = `{"closed": []}`
	server.serve(t, at)
	p.Await("!document.body.classList.contains('stale') && document.getElementById('alarm').hidden")
	p.Await("document.getElementById('about').textContent.includes('process 2')")
	p.Await(rows + " === 0 && document.getElementById('none').innerText === 'no connection is open'")
	p.Await("document.querySelector('#upstreams .map').textContent.includes('/new/')")
	p.Await("document.querySelectorAll('#ended tbody tr').length === 0")
}
