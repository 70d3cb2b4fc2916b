package observe

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/myriad-server/myriad/web"
)

func record() *web.Record {
	return &web.Record{
		Wall: 1_700_000_000, Duration: 1234 * time.Microsecond, Remote: netip.MustParseAddrPort("192.0.2.7:50000"),
		Connection: 42, Method: []byte("GET"), Target: []byte("/a?b=c"), Host: []byte("example.com"),
		UserAgent: []byte("browser/1.0"), Referer: []byte("http://example.com/"), Minor: 1, Status: 200, Bytes: 512,
	}
}

func TestCombined(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(r *web.Record)
		want   string
	}{
		{
			"whole", func(*web.Record) {},
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 "http://example.com/" "browser/1.0"`,
		},
		{
			"nothing but a status", func(r *web.Record) { *r = web.Record{Wall: r.Wall, Status: 400} },
			`unix: - - [14/Nov/2023:22:13:20 +0000] "-" 400 0 "-" "-"`,
		},
		{
			"a line of the client's own", func(r *web.Record) { r.UserAgent = []byte("x\"\n192.0.2.1 - - \\") },
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 "http://example.com/" ` +
				`"x\"\x0a192.0.2.1 - - \\"`,
		},
		{
			"IPv4 in IPv6", func(r *web.Record) { r.Remote = netip.MustParseAddrPort("[::ffff:192.0.2.7]:1") },
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 "http://example.com/" "browser/1.0"`,
		},
		{
			"passed on", func(r *web.Record) { r.Upstream, r.Attempts = "unix:/a\" b", 2 },
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 "http://example.com/" "browser/1.0" ` +
				`"unix:/a\" b" 2 -`,
		},
		{
			"not passed on", func(r *web.Record) { r.Cause, r.Status = "no_endpoint", 503 },
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 503 512 "http://example.com/" "browser/1.0" ` +
				`"-" 0 no_endpoint`,
		},
		{
			"bytes that are no ASCII", func(r *web.Record) { r.Referer = []byte("\x7f\x80é") },
			`192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 "\x7f\x80\xc3\xa9" "browser/1.0"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := record()
			test.change(r)
			if diff := cmp.Diff(test.want+"\n", string(appendCombined(nil, r, new(stamp)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestJSONIsWhatSlogWrites compares with the handler of the standard library, for whatever a client may send.
func TestJSONIsWhatSlogWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 50), rapid.Map(rapid.StringN(0, 20, 60), func(s string) []byte {
			return []byte(s)
		}))
		r := record()
		r.Target, r.Host = text.Draw(t, "target"), text.Draw(t, "host")
		r.UserAgent, r.Referer = text.Draw(t, "user agent"), text.Draw(t, "referer")
		r.Minor, r.Status = rapid.Uint8Range(0, 9).Draw(t, "minor"), rapid.IntRange(200, 599).Draw(t, "status")
		r.Bytes, r.Connection = rapid.Int64().Draw(t, "bytes"), rapid.Uint64().Draw(t, "connection")
		r.Upstream = rapid.StringN(0, 20, 60).Draw(t, "upstream")
		r.Cause = rapid.SampledFrom([]string{"", "reset"}).Draw(t, "cause")
		r.Reason = rapid.StringN(0, 20, 60).Draw(t, "reason")
		r.Attempts = rapid.IntRange(0, 9).Draw(t, "attempts")
		r.Reused = rapid.Bool().Draw(t, "reused")
		times := rapid.Int64Range(-1, 1e12)
		r.Wait, r.FirstByte = time.Duration(times.Draw(t, "wait")), time.Duration(times.Draw(t, "first byte"))
		r.Passed = time.Duration(times.Draw(t, "passed"))
		r.Milliseconds = rapid.IntRange(0, 999).Draw(t, "milliseconds")
		var want bytes.Buffer
		line := slog.NewRecord(time.Unix(r.Wall, int64(r.Milliseconds)*1e6).UTC(), slog.LevelInfo, "request", 0)
		line.Add("connection", r.Connection, "remote", r.Remote.String(), "method", string(r.Method),
			"target", string(r.Target), "host", string(r.Host), "protocol", "HTTP/1."+string('0'+rune(r.Minor)),
			"status", r.Status, "sent_bytes", r.Bytes, "duration_microseconds", r.Duration.Microseconds())
		if proxied(r) {
			line.Add("upstream", r.Upstream, "attempts", r.Attempts, "upstream_reused", r.Reused)
			for i, d := range []time.Duration{r.Wait, r.FirstByte, r.Passed} {
				if name := []string{"wait", "first_byte", "duration"}[i]; d >= 0 {
					line.Add("upstream_"+name+"_microseconds", d.Microseconds())
				}
			}
		}
		if r.Cause != "" {
			line.Add("cause", r.Cause)
		}
		if proxied(r) && r.Reason != "" {
			line.Add("reason", r.Reason)
		}
		line.Add("user_agent", string(r.UserAgent), "referer", string(r.Referer))
		if err := slog.NewJSONHandler(&want, nil).Handle(t.Context(), line); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(appendJSON(nil, r, new(stamp)))); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestLongValuesAreCut(t *testing.T) {
	r := record()
	r.Target = bytes.Repeat([]byte("é"), 40_000)
	r.Host, r.UserAgent, r.Referer = r.Target, append([]byte("x"), r.Target...), bytes.Repeat([]byte{0}, 10_000)
	line := appendJSON(nil, r, new(stamp))
	if len(line) > longestLine {
		t.Errorf("the line has %d bytes, %d are the most", len(line), longestLine)
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"target", "host", "user_agent"} {
		value, _ := fields[name].(string)
		if !strings.HasSuffix(value, "é...") {
			t.Errorf("%s ends in %q, want whole characters and an ellipsis", name, value[max(0, len(value)-10):])
		}
	}
	r.Target = bytes.Repeat([]byte{1}, 40_000)
	r.Host, r.UserAgent, r.Referer = r.Target, r.Target, r.Target
	r.Cause, r.Reason, r.Upstream = "malformed_head", strings.Repeat("x", 1000), "unix:/"+strings.Repeat("x", 100)
	for name, line := range map[string][]byte{
		"JSON": appendJSON(nil, r, new(stamp)), "combined": appendCombined(nil, r, new(stamp)),
	} {
		if len(line) > longestLine {
			t.Errorf("the longest %s line has %d bytes, %d are the most", name, len(line), longestLine)
		}
	}
}

func TestStampFollowsTheClock(t *testing.T) {
	var s stamp
	for _, second := range []int64{0, 1, 1, 0, 1_700_000_000} {
		want := time.Unix(second, 0).UTC().Format(time.RFC3339)
		if got := string(s.at(second, time.RFC3339)); got != want {
			t.Errorf("second %d is %s, want %s", second, got, want)
		}
	}
}
