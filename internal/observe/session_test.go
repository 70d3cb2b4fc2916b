package observe

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/stream"
)

func session() *stream.Record {
	return &stream.Record{
		Connection: 42, Client: netip.MustParseAddrPort("192.0.2.7:50000"), Upstream: "127.0.0.1:5432",
		Received: 10, Sent: 20, UpstreamReceived: 21, UpstreamSent: 11, Wall: 1_700_000_000,
		Duration: 1234 * time.Microsecond, Connect: 56 * time.Microsecond, Cause: stream.ClientEnded,
	}
}

func TestSessionIsWhatSlogWrites(t *testing.T) {
	for name, change := range map[string]func(r *stream.Record){
		"whole":      func(*stream.Record) {},
		"failed":     func(r *stream.Record) { r.Cause, r.Err = stream.NotConnected, errors.New("no \"way\"\t of it") },
		"no server":  func(r *stream.Record) { r.Upstream = "" },
		"odd server": func(r *stream.Record) { r.Upstream = "unix:/a\\\"é\xff" },
	} {
		r := session()
		change(r)
		var want bytes.Buffer
		line := slog.NewRecord(time.Unix(r.Wall, 0).UTC(), slog.LevelInfo, "session", 0)
		line.Add("connection", r.Connection, "remote", r.Client.String(), "upstream", r.Upstream,
			"received_bytes", r.Received, "sent_bytes", r.Sent, "upstream_received_bytes", r.UpstreamReceived,
			"upstream_sent_bytes", r.UpstreamSent, "duration_microseconds", r.Duration.Microseconds(),
			"connect_microseconds", r.Connect.Microseconds(), "cause", r.Cause.String())
		if r.Err != nil {
			line.Add("error", r.Err.Error())
		}
		if err := slog.NewJSONHandler(&want, nil).Handle(t.Context(), line); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(appendSession(nil, r, new(stamp)))); diff != "" {
			t.Errorf("%s (-slog +ours):\n%s", name, diff)
		}
	}
}

func TestCombinedSession(t *testing.T) {
	r := session()
	want := `192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "SESSION 127.0.0.1:5432" - 20 "-" "client ended"` + "\n"
	if diff := cmp.Diff(want, string(appendCombinedSession(nil, r, new(stamp)))); diff != "" {
		t.Error(diff)
	}
	r.Client, r.Upstream, r.Cause = netip.AddrPort{}, "", stream.NotConnected
	want = `unix: - - [14/Nov/2023:22:13:20 +0000] "SESSION -" - 20 "-" "not connected"` + "\n"
	if diff := cmp.Diff(want, string(appendCombinedSession(nil, r, new(stamp)))); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsAndRequestsShareALog(t *testing.T) {
	var out bytes.Buffer
	a := NewAccessLog(AccessOptions{Output: &out})
	a.Log(record())
	r := session()
	r.Wall = 0 // of datagrams: it is now
	a.Sessions().Log(r)
	if err := a.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(out.String(), `"msg":"session"`) || strings.Contains(out.String(), "1970") {
		t.Errorf("got %q", lines)
	}
}
