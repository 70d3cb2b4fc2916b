package app_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/bus"
)

// status is that of the answer to a client with an address of its own.
func status(t *testing.T, client byte, url string) int {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, client)}}
	transport := &http.Transport{DialContext: d.DialContext}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode
}

// shares has one client after the other use up on one server what it may make of a route, 30 requests, and ask the
// other then, until that refuses one that it would not by itself. The first of them may come before the servers have
// heard of each other.
func shares(t *testing.T, urls [2]string) {
	t.Helper()
	const most, clients = 30, 100
	for client := range byte(clients) {
		for i := range most {
			if got := status(t, client, urls[0]+"/"); got != 200 {
				t.Fatalf("request %d of %d: %d", i, most, got)
			}
		}
		admitted, soon := 0, time.NewTicker(tellPause) // the other server says it every so often, and nothing tells when
		for status(t, client, urls[1]+"/") == 200 {    // which comes to an end in any case
			admitted++
			<-soon.C
		}
		soon.Stop()
		if admitted < most {
			return
		}
	}
	t.Errorf("each of %d clients was admitted as if there was no bus", clients)
}

// TestSharedRate has a client use up on one server what it may make of a route, and another one refuse it then. When
// the bus is gone each counts for itself.
func TestSharedRate(t *testing.T) {
	nats, err := bus.Serve(bus.ServerOptions{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Token: "hush"})
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var urls [2]string
	for i := range urls {
		s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, "listeners[0].address=127.0.0.1:0",
			"bus.servers=["+nats.URL()+"]", "bus.token_file="+token,
			"routes=[{path: /, respond: {body: one}, rate: {requests: 30, per: 24h}}, "+
				"{path: /two, respond: {body: two}, rate: {requests: 5, per: 24h}}]")
		urls[i] = "http://" + s.Address()
	}
	shares(t, urls)
	nats.Close()
	for _, url := range urls {
		for i := range 6 {
			if got, want := status(t, 0, url+"/two"), []int{200, 429}[i/5]; got != want {
				t.Errorf("without a bus request %d is answered with %d; want %d", i, got, want)
			}
		}
	}
}

// TestClusteredRate is two servers, each with a bus of its own, which join.
func TestClusteredRate(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var at [2]*bus.Reservation
	for i := range at {
		var err error
		if at[i], err = bus.Reserve(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
			t.Fatal(err)
		}
		defer at[i].Close()
	}
	var urls [2]string
	for i := range urls {
		s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, "listeners[0].address=127.0.0.1:0",
			fmt.Sprintf("bus.cluster={node: n%d, listen: %q, routes: [%q], secret_file: %s}",
				i, at[i].Address, at[1-i].Address, secret),
			"routes=[{path: /, respond: {body: one}, rate: {requests: 30, per: 24h}}]")
		urls[i] = "http://" + s.Address()
	}
	shares(t, urls)
}

// tellPause is a part of the time between two words of a server.
const tellPause = 20 * time.Millisecond
