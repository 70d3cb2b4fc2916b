package stream

import (
	"testing"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/upstream"
)

// TestUDPReplace gives a listener other options while there are sessions: those stay with their server and are counted
// where they were; new ones go where the new options say, as many as they say.
func TestUDPReplace(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		answering := func(name string) string {
			return datagramServer(t, func(text string) []string { return []string{text + name} })
		}
		r, p := datagramProxy(t, f, UDPOptions{Group: group(t, upstream.Options{}, answering(" 1")), PerClient: 5})
		old := r.dial()
		ask(t, old, "a", "a 1")
		next := UDPOptions{Group: group(t, upstream.Options{}, answering(" 2")), PerClient: 1, Answers: 2}
		if err := p.Replace(next); err != nil {
			t.Fatal(err)
		}
		if err := p.Replace(UDPOptions{}); err == nil {
			t.Error("options without servers replace others")
		}
		r.do(func() {}) // the loop has heard of it
		fresh := r.dial()
		ask(t, fresh, "b", "b 2")
		ask(t, old, "c", "c 1")
		refused := r.dial() // of the same address
		eventually(t, "a second session of the address is refused", func() bool {
			send(t, refused, "d")
			return p.Counts()[RefusedPerClient] > 0
		})
		next.PerClient, next.Answers = 0, 1
		if err := p.Replace(next); err != nil {
			t.Fatal(err)
		}
		r.do(func() {})
		ask(t, refused, "e", "e 2")
		eventually(t, "a session is over with its answer", func() bool { return p.Counts()[Answered] > 0 })
	})
}

// TestTCPSuccessor has sessions served in turn count in one place.
func TestTCPSuccessor(t *testing.T) {
	first, err := NewTCP(TCPOptions{Group: group(t, upstream.Options{}, "127.0.0.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	next, err := first.Successor(TCPOptions{Group: group(t, upstream.Options{}, "127.0.0.1:2")})
	if err != nil {
		t.Fatal(err)
	}
	first.tally().begun()
	next.tally().begun()
	if a, b := first.Counts()[Open], next.Counts()[Open]; a != 2 || b != 2 {
		t.Errorf("they count %d and %d open sessions; want 2", a, b)
	}
	if _, err := first.Successor(TCPOptions{}); err == nil {
		t.Error("there is a successor without servers")
	}
}
