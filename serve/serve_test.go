package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// possible is a site that Validate accepts.
func possible() *Site {
	return &Site{
		Listeners: []Listener{{
			Name: "one", Network: "tcp",
			Open:    func(int) (int, error) { return -1, nil },
			Handler: func() conn.Handler { return nil },
		}},
		Limits: Limits{Connections: 1, BlockBytes: 4096, Blocks: 8, OutputBytes: 1 << 20, Drain: time.Second},
	}
}

func TestValidate(t *testing.T) {
	if err := possible().Validate(); err != nil {
		t.Fatalf("a possible site: %v", err)
	}
	datagram := func() conn.DatagramHandler { return nil }
	for _, c := range []struct {
		says  string
		spoil func(s *Site)
	}{
		{"no listener", func(s *Site) { s.Listeners = nil }},
		{`"one" has no Open`, func(s *Site) { s.Listeners[0].Open = nil }},
		{"either a Handler or a Datagram", func(s *Site) { s.Listeners[0].Handler = nil }},
		{"either a Handler or a Datagram", func(s *Site) { s.Listeners[0].Datagram = datagram }},
		{"udp and needs a Datagram", func(s *Site) { s.Listeners[0].Network = "udp" }},
		{"Loops is -1", func(s *Site) { s.Limits.Loops = -1 }},
		{"Workers is -1", func(s *Site) { s.Limits.Workers = -1 }},
		{"Queue is -1", func(s *Site) { s.Limits.Queue = -1 }},
		{"Connections is 0", func(s *Site) { s.Limits.Connections = 0 }},
		{"BlockBytes is 511", func(s *Site) { s.Limits.BlockBytes = 511 }},
		{"Blocks is 1", func(s *Site) { s.Limits.Blocks = 1 }},
		{"OutputBytes is 0", func(s *Site) { s.Limits.OutputBytes = 0 }},
		{"Drain is 0", func(s *Site) { s.Limits.Drain = 0 }},
	} {
		s := possible()
		c.spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Validate: %v; want an error with %q", err, c.says)
		}
	}
	s := possible()
	s.Limits = Limits{}
	if err := s.Validate(); strings.Count(err.Error(), "Limits.") != 5 {
		t.Errorf("Validate of no limits at all reports %q; want each of 5", err)
	}
}

func TestAccept(t *testing.T) {
	if a, b := ReusePort.String(), OneAcceptor.String(); a != "reuseport" || b != "acceptor" {
		t.Errorf("the ways to accept are called %q and %q", a, b)
	}
}
