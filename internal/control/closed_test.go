package control

import (
	"net"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/app"
)

// TestEndsHaveCauses ends connections in every way that a client has, under every model.
func TestEndsHaveCauses(t *testing.T) {
	for _, model := range app.Known().Models {
		t.Run(model, func(t *testing.T) {
			s := serve(t, "engine.model="+model)
			ends := []struct {
				cause string
				act   func(c net.Conn) error
			}{
				{"ended", func(c net.Conn) error { return c.Close() }},
				{"reset", func(c net.Conn) error {
					if err := c.(*net.TCPConn).SetLinger(0); err != nil {
						return err
					}
					return c.Close()
				}},
				{"operator", func(net.Conn) error {
					s.ask("POST", "/v1/conns/close", "all=true", nil)
					return nil
				}},
			}
			for _, end := range ends {
				c := s.dial()
				if err := exchange(c, 100); err != nil {
					t.Fatal(err)
				}
				s.until("state=idle", "one that waits", func(l *List) bool { return l.Matched == 1 && l.Open == 1 })
				if err := end.act(c); err != nil {
					t.Fatal(err)
				}
				s.until("", "none", func(l *List) bool { return l.Open == 0 })
				var last struct{ Closed []Connection }
				s.ask("GET", "/v1/closed", "cause="+end.cause, &last)
				if len(last.Closed) != 1 || last.Closed[0].ReceivedBytes != 100 || last.Closed[0].Requests != 1 {
					t.Errorf("%s: told %+v", end.cause, last.Closed)
				}
				if peer := c.LocalAddr().String(); end.cause != "reset" && last.Closed[0].Peer != peer {
					t.Errorf("%s: its peer is %q, want %s", end.cause, last.Closed[0].Peer, peer)
				}
			}
			var status struct {
				Ends map[string]int `json:"recent_ends"`
			}
			if text := s.ask("GET", "/v1/status", "", &status); len(status.Ends) != len(ends) {
				t.Errorf("status counts %v: %s", status.Ends, strings.TrimSpace(text))
			}
			want := `myriad_connections_failed_total{cause="operator"} 1`
			if text := s.ask("GET", "/metrics", "", nil); !strings.Contains(text, want) {
				t.Errorf("the metrics do not have %s", want)
			}
		})
	}
}
