package observe

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/web/proxy"
)

func TestTunnelIsWhatSlogWrites(t *testing.T) {
	r := &proxy.TunnelRecord{
		Connection: 42, Client: netip.MustParseAddrPort("192.0.2.7:50000"), Upstream: "127.0.0.1:9001",
		Received: 10, Sent: 20, Wall: 1_700_000_000, Duration: 1234 * time.Microsecond, Cause: "idle",
	}
	var want bytes.Buffer
	line := slog.NewRecord(time.Unix(r.Wall, 0).UTC(), slog.LevelInfo, "tunnel", 0)
	line.Add("connection", r.Connection, "remote", r.Client.String(), "upstream", r.Upstream,
		"received_bytes", r.Received, "sent_bytes", r.Sent,
		"duration_microseconds", r.Duration.Microseconds(), "cause", r.Cause)
	if err := slog.NewJSONHandler(&want, nil).Handle(t.Context(), line); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(appendTunnel(nil, r, new(stamp)))); diff != "" {
		t.Errorf("(-slog +ours):\n%s", diff)
	}
	short := `192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "TUNNEL 127.0.0.1:9001" - 20 "-" "idle"` + "\n"
	if diff := cmp.Diff(short, string(appendCombinedTunnel(nil, r, new(stamp)))); diff != "" {
		t.Error(diff)
	}
}

func TestTunnelsAndRequestsShareALog(t *testing.T) {
	var out bytes.Buffer
	a := NewAccessLog(AccessOptions{Output: &out})
	a.Tunnels().LogTunnel(&proxy.TunnelRecord{Connection: 7, Wall: 1_700_000_000, Cause: "stopped"})
	a.Close(time.Minute)
	if want := `"msg":"tunnel","connection":7,"remote":"unix:"`; !bytes.Contains(out.Bytes(), []byte(want)) {
		t.Errorf("%q", out.String())
	}
}
