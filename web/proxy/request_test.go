package proxy_test

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// with makes an option of a change to the proxy's.
func with(f func(o *proxy.Options)) option {
	return func(o *proxy.Options, _ *upstream.Options, _ *web.Server) { f(o) }
}

// plain takes away what most cases do not look at.
var plain = with(func(o *proxy.Options) { o.Forwarded = proxy.ForwardedOff })

// headCase is a request, and what the upstream gets.
type headCase struct {
	name string
	with []option
	in   string
	want string
}

func TestRequestHead(t *testing.T) {
	for _, cases := range [][]headCase{passing, hopByHop, forwarding, rewriting, hosts, changing} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, c.with...)
				r.send(c.in)
				if got := r.asked(-1); got != c.want {
					t.Errorf("the upstream got\n%q, not\n%q", got, c.want)
				}
			})
		}
	}
}

var passing = []headCase{
	{"get", []option{plain}, get, lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 myriad")},
	{
		"fields as they came",
		[]option{plain},
		lines("GET /a?b HTTP/1.1", "Host: a:80", "X-Odd:\tx ", "Cookie: c", "accept: */*"),
		lines("GET /a?b HTTP/1.1", "Host: a:80", "X-Odd:\tx ", "Cookie: c", "accept: */*", "Via: 1.1 myriad"),
	},
	{
		"options with hops left",
		[]option{plain},
		lines("OPTIONS / HTTP/1.1", "Host: a", "max-forwards: 010", "A: b"),
		lines("OPTIONS / HTTP/1.1", "Host: a", "A: b", "Max-Forwards: 9", "Via: 1.1 myriad"),
	},
	{
		"options with more hops than can be counted",
		[]option{plain},
		lines("OPTIONS / HTTP/1.1", "Host: a", "Max-Forwards: 99999999999999999999999999"),
		lines("OPTIONS / HTTP/1.1", "Host: a", "Max-Forwards: 5764607523034234878", "Via: 1.1 myriad"),
	},
	{
		"hops of another method",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Max-Forwards: 0"),
		lines("GET / HTTP/1.1", "Host: a", "Max-Forwards: 0", "Via: 1.1 myriad"),
	},
	{
		"hops that are none",
		[]option{plain},
		lines("OPTIONS / HTTP/1.1", "Host: a", "Max-Forwards: -1"),
		lines("OPTIONS / HTTP/1.1", "Host: a", "Max-Forwards: -1", "Via: 1.1 myriad"),
	},
	{
		"content of a known length",
		[]option{plain},
		lines("POST /p HTTP/1.1", "Host: a", "Content-Length: 3") + "abc",
		lines("POST /p HTTP/1.1", "Host: a", "Via: 1.1 myriad", "Content-Length: 3") + "abc",
	},
	{
		"no content, and saying so",
		[]option{plain},
		lines("POST /p HTTP/1.1", "Host: a", "Content-Length: 0"),
		lines("POST /p HTTP/1.1", "Host: a", "Via: 1.1 myriad", "Content-Length: 0"),
	},
	{
		"content in chunks, with trailers",
		[]option{plain},
		lines("PUT /p HTTP/1.1", "Host: a", "Trailer: X-Sum", "Transfer-Encoding: chunked") +
			"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 7\r\n\r\n",
		lines("PUT /p HTTP/1.1", "Host: a", "Trailer: X-Sum", "Via: 1.1 myriad", "Transfer-Encoding: chunked") +
			"3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 7\r\n\r\n",
	},
	{
		"an absolute target",
		[]option{plain},
		lines("GET http://b:81/x?y HTTP/1.1", "Host: a"),
		lines("GET /x?y HTTP/1.1", "Host: b:81", "Via: 1.1 myriad"),
	},
	{
		"a client of HTTP/1.0 without a host",
		[]option{plain, oneEndpoint},
		"GET / HTTP/1.0\r\n\r\n",
		lines("GET / HTTP/1.1", "Host: 127.0.0.1:9001", "Via: 1.0 myriad"),
	},
	{
		"a method that nobody here knows",
		[]option{plain, anyMethod},
		lines("PROPFIND /p HTTP/1.1", "Host: a", "Depth: 1"),
		lines("PROPFIND /p HTTP/1.1", "Host: a", "Depth: 1", "Via: 1.1 myriad"),
	},
	{
		"names that others read as names with hyphens",
		[]option{plain},
		lines("GET / HTTP/1.1", "X_Forwarded_For: 6.6.6.6", "Host: a", "Content_Length: 5", "X-A: _", "X_A: 1"),
		lines("GET / HTTP/1.1", "Host: a", "X-A: _", "Via: 1.1 myriad"),
	},
	{
		"and are welcome",
		[]option{plain, with(func(o *proxy.Options) { o.Underscores = true })},
		lines("GET / HTTP/1.1", "X_A: 1", "Host: a"),
		lines("GET / HTTP/1.1", "Host: a", "X_A: 1", "Via: 1.1 myriad"),
	},
	{
		"an encoded slash",
		[]option{plain},
		lines("GET /api/group%2Fname/x HTTP/1.1", "Host: a"),
		lines("GET /api/group%2Fname/x HTTP/1.1", "Host: a", "Via: 1.1 myriad"),
	},
	{
		"an encoded slash behind what is stripped",
		rewrite("/api", ""),
		lines("GET /api/group%2fname/%20 HTTP/1.1", "Host: a"),
		lines("GET /group%2Fname/%20 HTTP/1.1", "Host: a", "Via: 1.1 myriad"),
	},
	{
		"a long head",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", long),
		lines("GET / HTTP/1.1", "Host: a", long, "Via: 1.1 myriad"),
	},
	{
		"a head that grows on the way",
		rewrite("/api", ""),
		lines("GET /api/%20"+strings.Repeat("|", 1500)+" HTTP/1.1", "Host: a"),
		lines("GET /%20"+strings.Repeat("%7C", 1500)+" HTTP/1.1", "Host: a", "Via: 1.1 myriad"),
	},
	{
		"who has been there before",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 other"),
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 other", "Via: 1.1 myriad"),
	},
}

// long is a field that makes a head too long to be written in place.
var long = "X-Long: " + strings.Repeat("x", 6000)

func anyMethod(_ *proxy.Options, _ *upstream.Options, s *web.Server) { s.AnyMethod = true }

func oneEndpoint(_ *proxy.Options, u *upstream.Options, _ *web.Server) { u.Endpoints = u.Endpoints[:1] }

var hopByHop = []headCase{
	{
		"fields for one connection",
		[]option{plain},
		lines("GET / HTTP/1.1", "Connection: keep-alive, X-Mine", "Host: a", "X-Mine: 1", "Keep-Alive: timeout=5", "X-A: 1",
			"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "Proxy: evil", "Proxy-X: y", "Proxyx: kept",
			"TE: gzip", "Upgrade: h2c"),
		lines("GET / HTTP/1.1", "Host: a", "X-A: 1", "Proxyx: kept", "Via: 1.1 myriad"),
	},
	{
		"trailers are welcome",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Connection: TE", "TE: deflate, Trailers"),
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 myriad", "TE: trailers", "Connection: TE"),
	},
	{
		"an upgrade",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k"),
		lines("GET / HTTP/1.1", "Host: a", "Sec-WebSocket-Key: k", "Via: 1.1 myriad", "Upgrade: websocket",
			"Connection: Upgrade"),
	},
	{
		"no upgrade to HTTP/2",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 myriad"),
	},
	{
		"no upgrade with content",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1") + "x",
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 myriad", "Content-Length: 1") + "x",
	},
	{
		"framing that the Connection field names",
		[]option{plain},
		lines("POST / HTTP/1.1", "Host: a", "Connection: Content-Length, Host", "Content-Length: 1") + "x",
		lines("POST / HTTP/1.1", "Host: a", "Via: 1.1 myriad", "Content-Length: 1") + "x",
	},
	{
		"links that are not kept",
		[]option{plain, with(func(o *proxy.Options) { o.Close = true })},
		lines("GET / HTTP/1.1", "Host: a", "TE: trailers", "Connection: TE"),
		lines("GET / HTTP/1.1", "Host: a", "Via: 1.1 myriad", "TE: trailers", "Connection: TE, close"),
	},
}

func trusting(o *proxy.Options) { o.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

var claimed = lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2",
	"X-Forwarded-Proto: https", "X-Forwarded-Host: b", "X-Real-IP: 3.3.3.3", "Forwarded: for=4.4.4.4")

var forwarding = []headCase{
	{
		"a stranger's claims are replaced", nil, claimed,
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a",
			"Via: 1.1 myriad"),
	},
	{
		"a stranger's claims that have no name here", nil,
		lines("GET / HTTP/1.1", "Host: a", "x-forwarded-PORT: 443", "Accept: a", "X-Forwarded-Prefix: /b", "X-Forwarded: x",
			"X-Forwardedness: c", "X-Forwarded-Ssl: on"),
		lines("GET / HTTP/1.1", "Host: a", "Accept: a", "X-Forwardedness: c", "X-Forwarded-For: 127.0.0.1",
			"X-Forwarded-Proto: http", "X-Forwarded-Host: a", "Via: 1.1 myriad"),
	},
	{
		"a trusted client's that have no name here",
		[]option{with(trusting)},
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-Port: 443"),
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-Port: 443", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http",
			"X-Forwarded-Host: a", "Via: 1.1 myriad"),
	},
	{
		"a trusted client's are added to",
		[]option{with(trusting)},
		claimed,
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-Proto: https", "X-Forwarded-Host: b", "X-Real-IP: 3.3.3.3",
			"Forwarded: for=4.4.4.4", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1", "Via: 1.1 myriad"),
	},
	{
		"in the standard's way",
		[]option{with(func(o *proxy.Options) { o.Forwarded = proxy.ForwardedRFC7239 })},
		claimed,
		lines("GET / HTTP/1.1", "Host: a", "Forwarded: for=127.0.0.1;host=\"a\";proto=http", "Via: 1.1 myriad"),
	},
	{
		"in both ways, trusted",
		[]option{with(trusting), with(func(o *proxy.Options) { o.Forwarded, o.Scheme = proxy.ForwardedBoth, "https" })},
		lines("GET / HTTP/1.1", "Host: a", "Forwarded: for=4.4.4.4"),
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a",
			"Forwarded: for=4.4.4.4, for=127.0.0.1;host=\"a\";proto=https", "Via: 1.1 myriad"),
	},
	{
		"not at all",
		[]option{plain},
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1"),
		lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1", "Via: 1.1 myriad"),
	},
}

func rewrite(strip, prefix string) []option {
	return []option{plain, with(func(o *proxy.Options) { o.Strip, o.Prefix = strip, prefix })}
}

func target(path string) string { return lines("GET "+path+" HTTP/1.1", "Host: a") }

func got(path string) string { return lines("GET "+path+" HTTP/1.1", "Host: a", "Via: 1.1 myriad") }

var rewriting = []headCase{
	{"stripped", rewrite("/api", ""), target("/api/x?q=/api"), got("/x?q=/api")},
	{"stripped to the root", rewrite("/api", ""), target("/api"), got("/")},
	{"stripped with its slash", rewrite("/api/", ""), target("/api/x"), got("/x")},
	{"nothing to strip", rewrite("/api", ""), target("/other"), got("/other")},
	{"prefixed", rewrite("", "/v2"), target("/x"), got("/v2/x")},
	{"prefixed with a slash", rewrite("", "/v2/"), target("/x"), got("/v2/x")},
	{"both", rewrite("/api/", "/v2/"), target("/api/x?y"), got("/v2/x?y")},
	{"both to nothing", rewrite("/api/", "/v2/"), target("/api/"), got("/v2/")},
	{"encoded", rewrite("/api", ""), target("/api/a%20b%3Fc"), got("/a%20b%3Fc")},
	{"encoded where it is stripped", rewrite("/api", ""), target("/%61pi/%2e%2E/api/x"), got("/x")},
	{"encoded as it came", []option{plain}, target("/a%20b/%41//c"), got("/a%20b/%41//c")},
	{"dot segments as they were matched", []option{plain}, target("/a/../b%20/./c"), got("/b%20/c")},
	{"encoded dot segments", []option{plain}, target("/a/%2e%2E/b"), got("/b")},
	{"dots that are none", []option{plain}, target("/a/.b/..c/%2e%2e%2e/x%2ey"), got("/a/.b/..c/%2e%2e%2e/x%2ey")},
}

var hosts = []headCase{
	{
		"the endpoint's",
		[]option{plain, oneEndpoint, with(func(o *proxy.Options) { o.Host = proxy.HostUpstream })},
		get,
		lines("GET / HTTP/1.1", "Host: 127.0.0.1:9001", "Via: 1.1 myriad"),
	},
	{
		"a fixed one",
		[]option{plain, with(func(o *proxy.Options) { o.Host = "app.internal" })},
		get,
		lines("GET / HTTP/1.1", "Host: app.internal", "Via: 1.1 myriad"),
	},
	{
		"of a Unix socket",
		[]option{
			plain, with(func(o *proxy.Options) { o.Host = proxy.HostUpstream }),
			func(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
				u.Endpoints = []upstream.EndpointOptions{{Address: "unix:/run/app.sock"}}
			},
		},
		get, lines("GET / HTTP/1.1", "Host: localhost", "Via: 1.1 myriad"),
	},
}

var changing = []headCase{
	{
		"set, added and removed",
		[]option{plain, with(func(o *proxy.Options) {
			o.Name = "edge"
			o.Request = proxy.Edits{
				Set: []http1.FieldLine{{Name: "X-Set", Value: "new"}, {Name: "user-agent", Value: "us"}},
				Add: []http1.FieldLine{{Name: "X-Add", Value: "too"}}, Remove: []string{"Cookie", "x-gone"},
			}
		})},
		lines("GET / HTTP/1.1", "Host: a", "X-SET: old", "User-Agent: them", "X-Add: one", "Cookie: c", "X-Gone: 1"),
		lines("GET / HTTP/1.1", "Host: a", "X-Add: one", "Via: 1.1 edge", "X-Set: new", "user-agent: us", "X-Add: too"),
	},
}

func TestOptions(t *testing.T) {
	group, err := upstream.New(upstream.Options{Endpoints: []upstream.EndpointOptions{{Address: "127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	for _, o := range []proxy.Options{
		{},
		{Group: group, Name: "two words"},
		{Group: group, Host: "a b"},
		{Group: group, Host: "a/b"},
		{Group: group, Prefix: "v2"},
		{Group: group, Prefix: "/v 2"},
		{Group: group, Strip: "api"},
		{Group: group, Sticky: "a;b"},
		{Group: group, Budget: 2},
		{Group: group, Key: proxy.Key{Of: proxy.KeyCookie}},
		{Group: group, Key: proxy.Key{Of: 99}},
		{Group: group, Request: proxy.Edits{Remove: []string{"Content-Length"}}},
		{Group: group, Request: proxy.Edits{Set: []http1.FieldLine{{Name: "Host", Value: "x"}}}},
		{Group: group, Request: proxy.Edits{Add: []http1.FieldLine{{Name: "a b", Value: "x"}}}},
		{Group: group, Response: proxy.Edits{Set: []http1.FieldLine{{Name: "Transfer-Encoding", Value: "x"}}}},
	} {
		if _, err := proxy.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestHostByName calls an endpoint by the name that it was configured as, not by the address that this leads to.
func TestHostByName(t *testing.T) {
	found := make(chan struct{}, 1)
	r := newRig(t, plain, func(o *proxy.Options, u *upstream.Options, _ *web.Server) {
		o.Host = proxy.HostUpstream
		u.Endpoints = []upstream.EndpointOptions{{Address: "app.internal:8080"}}
		u.Resolve.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			select {
			case found <- struct{}{}:
			default:
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
		}
	})
	<-found
	for deadline := time.Now().Add(patience); len(r.group.Snapshot().Endpoints) == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the name has no address")
		}
	}
	r.send(get)
	if got, want := r.asked(-1), lines("GET / HTTP/1.1", "Host: app.internal:8080", "Via: 1.1 myriad"); got != want {
		t.Errorf("the upstream got %q", got)
	}
	if to := r.dialer.Targets[0].Address.String(); to != "192.0.2.7:8080" {
		t.Errorf("it is at %s", to)
	}
}
