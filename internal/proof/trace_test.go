package proof

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/internal/faults"
)

// collector keeps what it is sent.
type collector struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.Copy(&c.text, r.Body)
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

var parents = regexp.MustCompile(`(?m)^traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r?$`)

// TestTraces passes requests on with and without a trace of the client: what the upstream is told, and the collector.
func TestTraces(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	sampled := "traceparent: 00-" + trace + "-" + parent + "-01\r\n"
	unsampled := "traceparent: 00-" + trace + "-" + parent + "-00\r\n"
	for _, c := range []struct {
		name, fields, sample string
		off                  bool
		passed               string // as it came; empty: another one is made
		spans, state         bool
	}{
		{name: "off", fields: sampled + "tracestate: a=b\r\n", off: true, passed: sampled, state: true},
		{name: "parent says no", fields: unsampled + "tracestate: a=b\r\n", sample: "1", passed: unsampled, state: true},
		{name: "parent says yes", fields: sampled + "tracestate: a=b\r\n", sample: "0", spans: true, state: true},
		{name: "none, sampled", sample: "1", spans: true},
		{name: "none, not sampled", sample: "0", passed: "none"},
		{name: "no trace at all", fields: "traceparent: 1\r\ntracestate: a=b\r\n", sample: "1", spans: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := new(collector)
			collecting := httptest.NewServer(sink)
			defer collecting.Close()
			upstream := upstreamOf(t, faults.Options{Record: true})
			lines := []string{"tracing.endpoint=" + collecting.URL, "tracing.sample=" + c.sample}
			if c.off {
				lines = nil
			}
			p := start(t, []string{upstream.Address()}, lines...)
			client := p.dial()
			client.send("GET /traced HTTP/1.1\r\nHost: proof\r\n" + c.fields + "\r\n")
			client.must("GET")
			_ = client.Close()
			p.end()
			head := upstream.Requests()[0].Head
			made := parents.FindStringSubmatch(head)
			switch {
			case c.passed == "none":
				if strings.Contains(head, "traceparent") {
					t.Errorf("a trace was made: %q", head)
				}
			case c.passed != "":
				if !strings.Contains(head, c.passed) {
					t.Errorf("the trace was not passed on: %q", head)
				}
			case made == nil || strings.Count(head, "traceparent") != 1 || made[2] == parent:
				t.Fatalf("the upstream is told %q", head)
			case strings.HasPrefix(c.fields, sampled) != (made[1] == trace):
				t.Errorf("the upstream is told of the trace %s", made[1])
			}
			if strings.Contains(head, "tracestate: a=b") != c.state {
				t.Errorf("the state of the trace: %q", head)
			}
			text := sink.String()
			if !c.spans {
				if text != "" {
					t.Errorf("the collector got %s", text)
				}
				return
			}
			for _, part := range []string{
				`"traceId":"` + made[1] + `"`, `"spanId":"` + made[2] + `"`, `"kind":2`, `"kind":3`, `"stringValue":"/traced"`,
			} {
				if !strings.Contains(text, part) {
					t.Errorf("the collector did not get %s: %s", part, text)
				}
			}
		})
	}
}
