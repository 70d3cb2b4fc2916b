package main

import (
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestWorkersShareRate has one client after the other use up at one worker what it may make of a route, and go on with
// new connections, until another worker refuses one what it would admit by itself. The first of them may come before
// the workers have heard of each other.
func TestWorkersShareRate(t *testing.T) {
	const most, clients, enough = 30, 100, 64 // new connections that all find the worker that has refused already
	f := configured(t, "reuseport", "routes: [{respond: {body: one}, rate: {requests: 30, per: 24h}}]", "bus: {}")
	soon := time.NewTicker(20 * time.Millisecond)
	defer soon.Stop()
	shared := false
	for number := byte(0); number < clients && !shared; number++ {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, number)}}
		transport := &http.Transport{DialContext: d.DialContext}
		admits := func() bool {
			answer, err := (&http.Client{Transport: transport}).Get("http://" + f.address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		}
		for i := range most {
			if !admits() {
				t.Fatalf("request %d of %d is refused", i, most)
			}
		}
		admitted := most
		for refused := 0; refused < enough; refused++ {
			transport.CloseIdleConnections()
			if admits() {
				admitted, refused = admitted+1, 0
				<-soon.C // the workers tell each other every so often, and nothing says when
			}
		}
		transport.CloseIdleConnections()
		shared = admitted < 2*most
	}
	if !shared {
		t.Errorf("each of %d clients was admitted as if there was no bus", clients)
	}
	f.signal(syscall.SIGINT)
	f.ends(0)
}
