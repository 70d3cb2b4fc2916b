package control

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestSockets finds the socket of a connection, and what is left of one that the server has closed first.
func TestSockets(t *testing.T) {
	s := serve(t, "engine.loops=1", "timeouts.linger=0s", "limits.requests_per_connection=1")
	open := s.dial()
	ended := s.dial()
	if err := exchange(ended, 100); err != nil { // the only one that the connection may make
		t.Fatal(err)
	}
	ask := func(query string) (all Sockets) {
		s.ask("GET", "/v1/sockets", query, &all)
		return all
	}
	s.until("", "only the one that is open", func(*List) bool {
		place := ask("").Places[0]
		return place.States["ESTABLISHED"] == 1 && place.Listener == s.URLs()[0] && place.States["FIN_WAIT2"] == 1
	})
	if err := ended.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("", "one that waits", func(*List) bool {
		place := ask("").Places[0]
		return place.States["TIME_WAIT"] == 1 && place.Orphans == 1
	})
	waiting := ask("state=TIME_WAIT").Sockets
	if peer := ended.LocalAddr().String(); len(waiting) != 1 || waiting[0].Peer != peer || !waiting[0].Orphan ||
		waiting[0].Expires <= 0 {
		t.Errorf("listed %+v", waiting)
	}
	if peers := ask("state=established").Sockets; !slices.ContainsFunc(peers, func(o Socket) bool {
		return o.Peer == open.LocalAddr().String() && !o.Orphan
	}) {
		t.Errorf("listed %+v", peers)
	}
	for query, wrong := range map[string]string{"state=bogus": "no state of TCP", "peer=1": "there are state, limit"} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.client.Ask(t.Context(), "GET", "/v1/sockets", values, nil); err == nil ||
			!strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", query, err)
		}
	}
}
