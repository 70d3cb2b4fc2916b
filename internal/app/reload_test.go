package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app/apptest"
)

// line is a connection that asks and reads line by line.
type line struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialLine(t *testing.T, address string) *line {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &line{t, c, bufio.NewReader(c)}
}

// ask sends a request and reads the content of its answer.
func (l *line) ask(path string) string {
	l.t.Helper()
	if _, err := fmt.Fprintf(l, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path); err != nil {
		l.t.Fatal(err)
	}
	return l.answer()
}

func (l *line) answer() string {
	l.t.Helper()
	answer, err := http.ReadResponse(l.r, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(content)
}

// echoAll is what says in turn what it gets, behind a name.
func echoAll(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() { l.Close(); group.Wait() })
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					if _, err := fmt.Fprintf(c, "%s %s\n", name, lines.Text()); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

func (l *line) say(text, wanted string) {
	l.t.Helper()
	if _, err := fmt.Fprintln(l, text); err != nil {
		l.t.Fatal(err)
	}
	got, err := l.r.ReadString('\n')
	if err != nil || got != wanted+"\n" {
		l.t.Fatalf("%q is answered with %q, %v; want %q", text, got, err, wanted)
	}
}

const twoListeners = `listeners=[{address: "127.0.0.1:0"}, {address: "127.0.0.2:0", protocol: tcp, upstream: a}]`

// received waits until a connection of clients has received so many bytes.
func received(t *testing.T, s *apptest.Server, n int) {
	t.Helper()
	again, over := time.NewTicker(time.Millisecond), time.NewTimer(30*time.Second)
	defer again.Stop()
	defer over.Stop()
	for {
		for _, roster := range s.Rosters() {
			records := make([]conn.Record, 16)
			count, _, err := roster.List(t.Context(), 0, records, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records[:count] {
				if r.Listener >= 0 && r.In == uint64(n) {
					return
				}
			}
		}
		select {
		case <-again.C:
		case <-over.C:
			t.Fatalf("no connection has received %d bytes", n)
		}
	}
}

// TestReload changes routes and upstreams under every kind of connection: what has begun goes on as it began, and what
// begins is served as the next configuration says.
func TestReload(t *testing.T) {
	for _, driver := range []string{"uring", "epoll"} {
		t.Run(driver, func(t *testing.T) {
			first, second := echoAll(t, "first"), echoAll(t, "second")
			lines := func(text, to string) []string {
				return []string{
					"engine.driver=" + driver, twoListeners, "admin=off", "upstreams.a={to: [" + to + "]}",
					`routes=[{respond: {body: ` + text + `}}]`,
				}
			}
			s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, lines("one", first)...)
			at := func(i int) string { return strings.SplitN(s.URLs()[i], "://", 2)[1] }
			web, tcp := dialLine(t, at(0)), dialLine(t, at(1))
			if got := web.ask("/"); got != "one" {
				t.Errorf("the first answer is %q", got)
			}
			tcp.say("a", "first a")
			half := dialLine(t, at(0)) // of a request
			const begun = "GET / HTTP/1.1\r\nHo"
			if _, err := half.Write([]byte(begun)); err != nil {
				t.Fatal(err)
			}
			received(t, s, len(begun))
			change, err := s.Reload(apptest.Plan(t, nil, lines("two", second)...))
			if err != nil {
				t.Fatal(err)
			}
			if change.Routes != 1 || change.Touched != 0 || change.Connections != 3 || len(change.Upstreams) != 1 {
				t.Errorf("the change is %+v", *change)
			}
			if got := web.ask("/"); got != "two" {
				t.Errorf("after the reload the answer is %q", got)
			}
			tcp.say("b", "first b")
			if _, err := half.Write([]byte("st: a\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			if got := half.answer(); got != "one" {
				t.Errorf("the request that had begun is answered with %q", got)
			}
			fresh := dialLine(t, at(1))
			fresh.say("c", "second c")
			tcp.say("d", "first d")
		})
	}
}

// TestReloadListeners takes a listener away and adds one, under connections of all.
func TestReloadListeners(t *testing.T) {
	const stays = `{address: "127.0.0.1:0"}`
	route := `routes=[{respond: {body: x}}]`
	s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, "admin=off", route,
		`listeners=[`+stays+`, {address: "127.0.0.2:0"}]`)
	at := func(i int) string { return strings.SplitN(s.URLs()[i], "://", 2)[1] }
	kept, going, left := dialLine(t, at(0)), dialLine(t, at(1)), at(1)
	kept.ask("/")
	going.ask("/")
	next := apptest.Plan(t, nil, "admin=off", route, "timeouts.drain=5s",
		`listeners=[{address: "127.0.0.3:0"}, `+stays+`]`)
	preview, err := s.Preview(next)
	if err != nil {
		t.Fatal(err)
	}
	if preview.Touched != 1 || preview.Connections != 2 || len(preview.Listeners) != 2 {
		t.Errorf("the preview is %+v", *preview)
	}
	kept.ask("/")
	going.ask("/")
	if _, err := s.Reload(next); err != nil {
		t.Fatal(err)
	}
	if n, err := going.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a connection of the listener that is gone: %d bytes, %v; want its end", n, err)
	}
	kept.ask("/")
	if got := dialLine(t, at(0)).ask("/"); got != "x" || !strings.HasPrefix(at(0), "127.0.0.3:") {
		t.Errorf("the listener that was added, %s, answers %q", at(0), got)
	}
	if !strings.HasPrefix(at(1), "127.0.0.1:") {
		t.Errorf("the listeners are %v", s.URLs())
	}
	for began := time.Now(); ; {
		c, err := net.Dial("tcp", left)
		if err != nil {
			break
		}
		c.Close()
		if time.Since(began) > 30*time.Second {
			t.Fatal("the listener that was taken away is still there")
		}
	}
}

// TestReloadInVain has reloads that cannot be: nothing of them may be in effect, and nothing may be left.
func TestReloadInVain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const listener = `listeners=[{address: "127.0.0.1:0"}]`
	s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, "admin=off", listener, `routes=[{respond: {body: one}}]`)
	at := strings.SplitN(s.URLs()[0], "://", 2)[1]
	c := dialLine(t, at)
	other := `routes=[{respond: {body: two}}]`
	for name, in := range map[string]struct {
		lines []string
		want  string
	}{
		"the engine": {[]string{listener, other, "engine.blocks=99", "engine.loops=1"}, "engine.blocks: it is"},
		"the socket": {
			[]string{`listeners=[{address: "127.0.0.1:0", backlog: 7}]`, other}, "listeners[0]: the options of a socket",
		},
		"an address that is taken": {
			[]string{`listeners=[{address: "127.0.0.1:0"}, {address: "` + taken.Addr().String() + `"}]`, other},
			"address already in use",
		},
	} {
		_, err := s.Reload(apptest.Plan(t, nil, append(in.lines, "admin=off")...))
		if err == nil || !strings.Contains(err.Error(), in.want) {
			t.Errorf("%s: %v; want %q", name, err, in.want)
		}
		if got := c.ask("/"); got != "one" {
			t.Errorf("%s: after the reload that was refused the answer is %q", name, got)
		}
	}
}

// TestReloadDatagrams changes the upstream of a listener of datagrams, and takes it away: sessions that there are keep
// their server, and end with the listener.
func TestReloadDatagrams(t *testing.T) {
	first, second := echoDatagrams(t, "first "), echoDatagrams(t, "second ")
	stays := `{address: "127.0.0.1:0"}`
	lines := func(to string) []string {
		return []string{
			"admin=off", "routes=[{respond: {body: x}}]", "upstreams.a={to: [" + to + "]}",
			`listeners=[` + stays + `, {address: "udp://127.0.0.1:0", protocol: udp, upstream: a}]`,
		}
	}
	s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, lines(first)...)
	at := strings.TrimPrefix(s.URLs()[1], "udp://")
	old := dialDatagrams(t, at)
	old.ask("a", "first a")
	if _, err := s.Reload(apptest.Plan(t, nil, lines(second)...)); err != nil {
		t.Fatal(err)
	}
	old.ask("b", "first b")
	began := time.Now()
	for fresh := ""; fresh != "second c"; { // the loops hear of it a moment later
		if fresh = dialDatagrams(t, at).answer("c"); time.Since(began) > 30*time.Second {
			t.Fatalf("new sessions are answered with %q", fresh)
		}
	}
	alone := apptest.Plan(t, nil, "admin=off", "routes=[{respond: {body: x}}]", "listeners=["+stays+"]")
	if _, err := s.Reload(alone); err != nil {
		t.Fatal(err)
	}
	for l, err := net.ListenPacket("udp", at); ; l, err = net.ListenPacket("udp", at) {
		if err == nil {
			l.Close()
			break
		}
		if time.Since(began) > 60*time.Second {
			t.Fatalf("the address that was left is taken: %v", err)
		}
	}
	if n := len(s.Listeners()); n != 2 {
		t.Errorf("%d listeners are known; the one that is gone keeps its number", n)
	}
}

// packets is a client of datagrams.
type packets struct {
	t *testing.T
	net.Conn
}

func dialDatagrams(t *testing.T, at string) packets {
	t.Helper()
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return packets{t, c}
}

// answer asks until there is an answer: any datagram may be lost.
func (p packets) answer(text string) string {
	p.t.Helper()
	buffer := make([]byte, 100)
	for range 100 {
		if _, err := p.Write([]byte(text)); err != nil {
			p.t.Fatal(err)
		}
		if err := p.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			p.t.Fatal(err)
		}
		for n, err := p.Read(buffer); err == nil; n, err = p.Read(buffer) {
			if got := string(buffer[:n]); strings.HasSuffix(got, " "+text) { // no late answer to something else
				return got
			}
		}
	}
	p.t.Fatalf("%q is not answered", text)
	return ""
}

func (p packets) ask(text, wanted string) {
	p.t.Helper()
	if got := p.answer(text); got != wanted {
		p.t.Errorf("%q is answered with %q; want %q", text, got, wanted)
	}
}

// echoDatagrams is a server that says in turn what it gets, behind a name.
func echoDatagrams(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-ended })
	go func() {
		defer close(ended)
		p := make([]byte, 100)
		for {
			n, from, err := l.ReadFrom(p)
			if err != nil {
				return
			}
			if _, err := l.WriteTo(append([]byte(name), p[:n]...), from); err != nil {
				return
			}
		}
	}()
	return l.LocalAddr().String()
}

// TestReloadUnderLoad reloads again and again under clients that ask without a pause: every one is answered, on the
// connection that it has.
func TestReloadUnderLoad(t *testing.T) {
	lines := func(i int) []string {
		return []string{
			"admin=off", `listeners=[{address: "127.0.0.1:0"}]`, fmt.Sprintf("routes=[{respond: {body: %q}}]", fmt.Sprint(i)),
		}
	}
	for _, model := range []string{"reactor", "goroutine"} {
		t.Run(model, func(t *testing.T) {
			s := apptest.Start(t, slog.New(slog.DiscardHandler), nil, append(lines(0), "engine.model="+model)...)
			at := strings.SplitN(s.URLs()[0], "://", 2)[1]
			ctx, cancel := context.WithCancel(context.Background())
			var group sync.WaitGroup
			for range 8 {
				c := dialLine(t, at)
				group.Go(func() {
					for ctx.Err() == nil {
						c.ask("/")
					}
				})
			}
			const reloads = 100
			for i := 1; i <= reloads; i++ {
				if _, err := s.Reload(apptest.Plan(t, nil, append(lines(i), "engine.model="+model)...)); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := dialLine(t, at).ask("/"), fmt.Sprint(reloads); got != want {
				t.Errorf("after the last reload the answer is %q; want %q", got, want)
			}
			cancel()
			group.Wait()
		})
	}
}
