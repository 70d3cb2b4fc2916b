package proxy_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web/proxy"
)

// tunnelLog keeps what it is told.
type tunnelLog []proxy.TunnelRecord

func (l *tunnelLog) LogTunnel(r *proxy.TunnelRecord) { *l = append(*l, *r) }

// TestTunnelRecord is what the log is told when a tunnel has ended, and what is counted, with a log and without.
func TestTunnelRecord(t *testing.T) {
	for _, c := range []struct {
		cause string
		do    func(r *rig)
	}{
		{"client ended", func(r *rig) { r.client.End(); r.turn(); r.upstream(0).End() }},
		{"upstream ended", func(r *rig) { r.upstream(0).End(); r.turn(); r.client.End() }},
		{"client failed", func(r *rig) { r.client.Abort(syscall.ECONNRESET) }},
		{"upstream failed", func(r *rig) { r.upstream(0).Abort(syscall.ECONNRESET) }},
		{"stopped", func(r *rig) { r.client.Abort(conn.ErrStopping) }},
		{"idle", func(r *rig) {
			for range 8 { // it looks four times in an hour
				r.advance(10 * time.Minute)
			}
		}},
		{"stalled", func(r *rig) { r.client.Abort(conn.ErrStalled) }},
		{"stalled", func(r *rig) { r.upstream(0).Abort(conn.ErrStalled) }},
	} {
		t.Run(c.cause, func(t *testing.T) {
			var told tunnelLog
			var counters proxy.TunnelCounters // of two handlers
			r := tunnelled(t, with(func(o *proxy.Options) { o.Tunnels, o.Counters = &told, &counters }))
			r.send("ping")
			r.answer("pong, and more")
			r.advance(time.Second)
			c.do(r)
			r.turn()
			if len(told) != 1 {
				t.Fatalf("the log was told %+v", told)
			}
			got := told[0]
			if got.Cause != c.cause || got.Sent != uint64(len("pong, and more")) || got.Duration < time.Second ||
				got.Connection != r.client.ID() || got.Upstream == "" || !got.Client.IsValid() || got.Wall == 0 {
				t.Errorf("the log was told %+v", got)
			}
			unlogged := tunnelled(t, with(func(o *proxy.Options) { o.Counters = &counters }))
			c.do(unlogged)
			unlogged.turn()
			for i, n := range counters.Counts() {
				cause, want := proxy.TunnelCauses[i], int64(0)
				if cause == c.cause || cause == "" {
					want = 2
				}
				if n != want {
					t.Errorf("%q is counted %d times; want %d", cause, n, want)
				}
			}
		})
	}
}
