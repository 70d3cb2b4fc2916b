package route_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/route"
	"github.com/myriad-server/myriad/web/webtest"
)

// says answers with a text.
func says(text string) web.Handler {
	h, err := route.Respond{Body: text, Type: "text/plain"}.Handler()
	if err != nil {
		panic(err)
	}
	return h
}

func table(t testing.TB, routes ...route.Route) *web.Server {
	t.Helper()
	table, err := route.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	return &web.Server{Root: table}
}

func ask(t testing.TB, s *web.Server, line, host string) webtest.Answer {
	t.Helper()
	a, err := webtest.Ask(s.Handler(), line+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return a
}

func TestFirstMatchWins(t *testing.T) {
	s := table(t,
		route.Route{Host: "Exact.example", Path: "/a", Handler: says("exact host")},
		route.Route{Host: "*.example", Prefix: "/", Handler: says("under example"), Methods: []string{"GET"}},
		route.Route{Path: "/a", Methods: []string{"POST"}, Handler: says("post a")},
		route.Route{Path: "/a", Methods: []string{"GET", "PUT"}, Handler: says("a")},
		route.Route{Prefix: "/p/", Handler: says("prefix")},
		route.Route{Suffix: ".php", Handler: says("suffix"), Fields: []http1.FieldLine{{Name: "X-Php", Value: "no"}}},
		route.Route{Path: "/host", Host: "[::1]", Handler: says("address")},
	)
	for _, c := range []struct{ line, host, want string }{
		{"GET /a", "exact.example", "200 exact host"},
		{"GET /a", "EXACT.EXAMPLE:80", "200 exact host"},
		{"GET /a", "exact.example.", "200 exact host"},
		{"GET /b", "exact.example", "200 under example"},
		{"GET /b", "a.b.example:1", "200 under example"},
		{"GET /b", "example", "404 404 Not Found\n"},
		{"GET /b", ".example", "404 404 Not Found\n"},
		{"GET /b", "notexample", "404 404 Not Found\n"},
		{"POST /b", "a.example", "405 405 Method Not Allowed\n"},
		{"POST /a", "x", "200 post a"},
		{"GET /a", "x", "200 a"},
		{"HEAD /a", "x", "200 "},
		{"PUT /a", "x", "200 a"},
		{"DELETE /a", "x", "405 405 Method Not Allowed\n"},
		{"OPTIONS /a", "x", "204 "},
		{"GET /a/", "x", "404 404 Not Found\n"},
		{"GET /p/", "x", "200 prefix"},
		{"GET /p/x.php", "x", "200 prefix"},
		{"GET /p", "x", "308 "},
		{"HEAD /p", "x", "308 "},
		{"POST /p", "x", "404 404 Not Found\n"},
		{"GET /p.", "x", "404 404 Not Found\n"},
		{"GET /x/../p/y", "x", "200 prefix"},
		{"GET /%70/y", "x", "200 prefix"},
		{"GET /P/y", "x", "404 404 Not Found\n"},
		{"GET /x.php", "x", "200 suffix"},
		{"GET /host", "[::1]:8080", "200 address"},
		{"GET http://exact.example/a", "x", "200 exact host"},
	} {
		a := ask(t, s, c.line, c.host)
		if got := fmt.Sprint(a.StatusCode, " ", a.Body); got != c.want {
			t.Errorf("%s at %s: %q, not %q", c.line, c.host, got, c.want)
		}
		if want := map[bool]string{true: "no"}[a.Body == "suffix"]; a.Header.Get("X-Php") != want {
			t.Errorf("%s: X-Php %q", c.line, a.Header.Get("X-Php"))
		}
	}
	if a := ask(t, s, "DELETE /a", "x"); a.Header.Get("Allow") != "GET, HEAD, POST, PUT" {
		t.Errorf("Allow: %s", a.Header.Get("Allow"))
	}
	if a := ask(t, s, "OPTIONS /a", "x"); a.Header.Get("Allow") != "GET, HEAD, POST, PUT, OPTIONS" {
		t.Errorf("Allow: %s", a.Header.Get("Allow"))
	}
}

// TestMethodsOfSeveralRoutes has routes for one path that differ in their methods, and one behind them that takes the
// path by methods of its own.
func TestMethodsOfSeveralRoutes(t *testing.T) {
	behind := web.HandlerFunc(func(x *web.Exchange) {
		if !web.MethodsOf(http1.GET, http1.HEAD).Has(x.Method()) {
			x.RefuseMethod(web.MethodsOf(http1.GET, http1.HEAD))
			return
		}
		if string(x.Path()) == "/there" {
			x.Reply([]byte("there"))
			return
		}
		x.Fail(404)
	})
	s := table(t,
		route.Route{Path: "/api", Methods: []string{"POST"}, Handler: says("posted")},
		route.Route{Path: "/api", Methods: []string{"PUT"}, Handler: says("put")},
		route.Route{Path: "/there", Methods: []string{"DELETE"}, Handler: says("deleted")},
		route.Route{Prefix: "/p/", Methods: []string{"PATCH"}, Handler: says("patched")},
		route.Route{Host: "only.example", Methods: []string{"PUT"}, Handler: says("put on it")},
		route.Route{Prefix: "/", Handler: behind},
	)
	for _, c := range []struct{ line, host, want, allow string }{
		{"POST /api", "x", "200 posted", ""},
		{"PUT /api", "x", "200 put", ""},
		{"GET /api", "x", "405 405 Method Not Allowed\n", "POST, PUT"},
		{"HEAD /api", "x", "405 ", "POST, PUT"},
		{"DELETE /api", "x", "405 405 Method Not Allowed\n", "GET, HEAD, POST, PUT"},
		{"OPTIONS /api", "x", "204 ", "GET, HEAD, POST, PUT, OPTIONS"},
		{"GET /there", "x", "200 there", ""},
		{"POST /there", "x", "405 405 Method Not Allowed\n", "GET, HEAD, DELETE"},
		{"GET /p/x", "x", "404 404 Not Found\n", ""}, // a route for many paths does not say that this one leads somewhere
		{"PUT /p/x", "x", "405 405 Method Not Allowed\n", "GET, HEAD, PATCH"},
		{"PUT /p/x", "only.example", "200 put on it", ""},
		{"POST /p/x", "only.example", "405 405 Method Not Allowed\n", "GET, HEAD, PUT, PATCH"},
		{"GET /none", "x", "404 404 Not Found\n", ""},
	} {
		a := ask(t, s, c.line, c.host)
		if got := fmt.Sprint(a.StatusCode, " ", a.Body); got != c.want || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s at %s: %q, Allow %q; want %q, %q", c.line, c.host, got, a.Header.Get("Allow"), c.want, c.allow)
		}
	}
	// What one request was told does not reach the next on its connection.
	c := webtest.New(s.Handler())
	for _, line := range []string{"GET /api", "GET /none", "POST /none"} {
		c.Receive([]byte(line + " HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	answers, err := webtest.Read(c.Sent, "GET", "GET", "POST")
	if err != nil {
		t.Fatal(err)
	}
	if answers[1].StatusCode != 404 || answers[2].Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%d, Allow %q", answers[1].StatusCode, answers[2].Header.Get("Allow"))
	}
}

// TestPrefixWithoutItsSlash sends to a prefix who leaves out its "/", unless somebody else answers.
func TestPrefixWithoutItsSlash(t *testing.T) {
	s := table(t,
		route.Route{Prefix: "/a b/", Handler: says("a"), Fields: []http1.FieldLine{{Name: "X", Value: "y"}}},
		route.Route{Prefix: "/posts/", Methods: []string{"POST"}, Handler: says("posted")},
		route.Route{Host: "h", Prefix: "/host/", Handler: says("host")},
		route.Route{Prefix: "/taken/", Handler: says("inside")},
		route.Route{Path: "/taken", Handler: says("taken")},
		route.Route{Prefix: "/open", Handler: says("open")},
	)
	for _, c := range []struct{ line, host, want string }{
		{"GET /a%20b", "x", "308 /a%20b/"},
		{"GET /a%20b?q=1", "x", "308 /a%20b/?q=1"},
		{"GET /a%20b/", "x", "200 "},
		{"GET /posts", "x", "404 "},
		{"GET /host", "x", "404 "},
		{"GET /host", "h", "308 /host/"},
		{"GET /taken", "x", "200 "},
		{"GET /open", "x", "200 "},
		{"GET /", "x", "404 "},
	} {
		a := ask(t, s, c.line, c.host)
		if got := fmt.Sprint(a.StatusCode, " ", a.Header.Get("Location")); got != c.want {
			t.Errorf("%s at %s: %s, not %s", c.line, c.host, got, c.want)
		}
		if a.StatusCode == 308 && c.host == "x" && a.Header.Get("X") != "y" {
			t.Errorf("%s: without the fields of the route", c.line)
		}
	}
}

// TestOptionsOfFixedAnswers has routes that say the same to every method be asked what they take.
func TestOptionsOfFixedAnswers(t *testing.T) {
	const all = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"
	for name, c := range map[string]struct {
		routes []route.Route
		want   string
	}{
		"alone":  {[]route.Route{{Handler: says("x"), Fixed: true}}, "204 " + all},
		"a path": {[]route.Route{{Path: "/", Handler: says("x"), Fixed: true}}, "204 " + all},
		"some methods": {
			[]route.Route{{Handler: says("x"), Methods: []string{"GET"}, Fixed: true}}, "204 GET, HEAD, OPTIONS",
		},
		"by name":   {[]route.Route{{Handler: says("x"), Methods: []string{"OPTIONS"}, Fixed: true}}, "200 "},
		"not fixed": {[]route.Route{{Handler: says("x")}}, "200 "},
	} {
		a := ask(t, table(t, c.routes...), "OPTIONS /", "x")
		if got := fmt.Sprint(a.StatusCode, " ", a.Header.Get("Allow")); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

func TestTableOfOne(t *testing.T) {
	for name, r := range map[string]route.Route{
		"anything": {Handler: says("x")},
		"fields":   {Handler: says("x"), Fields: []http1.FieldLine{{Name: "X", Value: "a\r\nb"}}},
		"root":     {Prefix: "/", Handler: says("x")},
	} {
		a := ask(t, table(t, r), "GET /any", "x")
		if a.Body != "x" || a.Header.Get("X") != map[string]string{"fields": "a  b"}[name] {
			t.Errorf("%s: %q, %v", name, a.Body, a.Header)
		}
	}
	if a := ask(t, table(t), "GET /", "x"); a.StatusCode != 404 {
		t.Errorf("an empty table: %d", a.StatusCode)
	}
	if a := ask(t, table(t, route.Route{Handler: route.NotFound}), "GET /", "x"); a.StatusCode != 404 {
		t.Errorf("NotFound: %d", a.StatusCode)
	}
}

func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		redirect route.Redirect
		line     string
		want     string
	}{
		{route.Redirect{To: "https://b/c"}, "GET /x?y", "308 https://b/c"},
		{route.Redirect{To: "/c", Status: 302}, "GET /x?y", "302 /c"},
		{route.Redirect{To: "https://b", Append: true}, "GET /x/?y=1&z", "308 https://b/x/?y=1&z"},
		{route.Redirect{To: "https://b/c/", Append: true, Status: 301}, "GET /x", "301 https://b/c/x"},
		{route.Redirect{To: "https://b", Append: true}, "GET /a%0d%0aX:%20y?", "308 https://b/a%0D%0AX:%20y?"},
		{
			route.Redirect{To: "https://b", Append: true},
			"GET /" + strings.Repeat("x", 2000),
			"308 https://b/" + strings.Repeat("x", 2000),
		},
		{route.Redirect{To: "/", Append: true}, "GET //evil.example", "308 /evil.example"},
		{route.Redirect{To: "/", Append: true}, "GET /\\evil.example", "308 /%5Cevil.example"},
		{route.Redirect{To: "/new", Append: true}, "GET //x", "308 /new/x"},
	} {
		h, err := c.redirect.Handler()
		if err != nil {
			t.Fatal(err)
		}
		a := ask(t, &web.Server{Root: h}, c.line, "a")
		if got := fmt.Sprint(a.StatusCode, " ", a.Header.Get("Location")); got != c.want || a.ContentLength != 0 {
			t.Errorf("%+v, %s: %s, not %s", c.redirect, c.line, got, c.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	ok := says("x")
	for want, r := range map[string]route.Route{
		"route 1: nothing answers":                                      {},
		"route 1: more than one of path, prefix and suffix":             {Handler: ok, Path: "/a", Suffix: "b"},
		`route 1: "a" does not begin with "/", so no path can match it`: {Handler: ok, Prefix: "a"},
		`route 1: "get" is no method that can be served`:                {Handler: ok, Methods: []string{"get"}},
		`route 1: "a.*" is no host: it is a name, or "*." and a name`:   {Handler: ok, Host: "a.*"},
	} {
		if _, err := route.New(r); err == nil || err.Error() != want {
			t.Errorf("%v, not %s", err, want)
		}
	}
	for _, h := range []interface {
		Handler() (web.Handler, error)
	}{
		route.Respond{Status: 101},
		route.Respond{Status: 600},
		route.Redirect{To: "/", Status: 200},
		route.Redirect{},
		route.Redirect{To: "/a b"},
		route.Redirect{To: "/\r\n"},
		route.Redirect{To: "/?a", Append: true},
	} {
		if _, err := h.Handler(); err == nil {
			t.Errorf("%+v: no error", h)
		}
	}
}

func benchmark(b *testing.B, in string, routes ...route.Route) {
	c := webtest.New(table(b, routes...).Handler())
	c.Discard = true
	request := []byte(in)
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(request)
	}
}

const get = "GET /articles/42 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n"

func BenchmarkCatchAll(b *testing.B) { benchmark(b, get, route.Route{Handler: says("hello")}) }

func BenchmarkTwentieth(b *testing.B) {
	var routes []route.Route
	for i := range 19 {
		routes = append(routes, route.Route{Host: "*.example.org", Prefix: fmt.Sprintf("/p%d/", i), Handler: says("x")})
	}
	benchmark(b, get, append(routes, route.Route{Prefix: "/articles/", Handler: says("hello")})...)
}

func BenchmarkRedirect(b *testing.B) {
	h, err := route.Redirect{To: "https://www.example.org", Append: true}.Handler()
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, get, route.Route{Handler: h})
}
