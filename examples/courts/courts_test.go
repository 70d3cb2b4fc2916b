package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/web"
)

// TestWays asks every way for a court that is there and one that is not.
func TestWays(t *testing.T) {
	weather := httptest.NewServer(weatherServer(time.Millisecond))
	defer weather.Close()
	s, err := newService(weather.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	blocking := httptest.NewServer(s.blocking(2))
	defer blocking.Close()
	async := httptest.NewServer(s.handler(s.join))
	defer async.Close()
	for name, url := range map[string]string{"blocking": blocking.URL, "async": async.URL, "loop": looped(t, s)} {
		for path, want := range map[string]struct {
			status int
			body   string
		}{
			"/courts/3": {200, `{"id":3,"name":"Old Harbour","location":"harbour","weather":"sunny at the harbour"}`},
			"/courts/9": {404, ""},
		} {
			response, err := http.Get(url + path)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != want.status || want.body != "" && string(body) != want.body {
				t.Errorf("%s%s: %s %s %v", name, path, response.Status, body, err)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// looped serves the event loop until the test ends.
func looped(t *testing.T, s *service) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ready, done := make(chan struct{}), make(chan error, 1)
	server := myriad.Server{
		Listen: []string{address}, HTTP: web.HandlerFunc(s.loop), Loops: 1, Drain: time.Second,
		Ready: func() { close(ready) },
	}
	go func() { done <- server.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return "http://" + address
}
