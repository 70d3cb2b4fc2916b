package app

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// application is a server that counts its connections and requests.
type application struct {
	address               string
	connections, requests atomic.Int32
}

func newApplication(t *testing.T) *application {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &application{address: l.Addr().String()}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			a.requests.Add(1)
			fmt.Fprint(w, "warm")
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				a.connections.Add(1)
			}
		},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // it ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return a
}

// TestPoolIsFilledBeforeTheFirstRequest holds pool.min against docs/proxy.md: so many connections for each endpoint,
// over all loops, and before anybody asks. The first request then makes none, unless it
// comes to a loop that has none: from another one it takes only what has been idle for a moment.
func TestPoolIsFilledBeforeTheFirstRequest(t *testing.T) {
	for _, test := range []struct{ loops, endpoints int }{{1, 1}, {2, 1}, {3, 2}} {
		t.Run(fmt.Sprintf("%d loops, %d endpoints", test.loops, test.endpoints), func(t *testing.T) {
			var all []*application
			var to []string
			for range test.endpoints {
				made := newApplication(t)
				all, to = append(all, made), append(to, made.address)
			}
			r := start(t, fmt.Sprint("engine.loops=", test.loops), "routes=[{proxy: {upstream: a}}]",
				fmt.Sprintf("upstreams.a={to: [%s], pool: {min: 4}}", strings.Join(to, ", ")))
			await(t, "four idle connections to each endpoint", func() bool { return filled(r, all, 4) })
			for i, a := range all {
				if c, n := a.connections.Load(), a.requests.Load(); c != 4 || n != 0 {
					t.Errorf("endpoint %d has %d connections and %d requests before the first request, want 4 and 0", i, c, n)
				}
			}
			if status, body, _ := r.get("/"); status != 200 || body != "warm" {
				t.Errorf("the answer is %d %q", status, body)
			}
			more := 0
			for _, a := range all {
				more += int(a.connections.Load()) - 4
			}
			if most := min(test.loops-1, 1); more > most {
				t.Errorf("the first request made %d connections, want %d at most", more, most)
			}
		})
	}
}

// filled tells whether there are n idle connections to every endpoint, and each of them has seen that many.
func filled(r *running, all []*application, n int) bool {
	for _, a := range all {
		if int(a.connections.Load()) < n {
			return false
		}
	}
	for _, u := range r.Status().Upstreams {
		for _, e := range u.Endpoints {
			if e.Idle != n {
				return false
			}
		}
	}
	return true
}
