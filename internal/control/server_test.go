package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
)

// TestEveryModelLists has every model and every driver list what is connected, and close it.
func TestEveryModelLists(t *testing.T) {
	var engines []string
	for _, model := range app.Known().Models {
		engines = append(engines, "engine.model="+model)
	}
	for _, driver := range app.Known().Drivers {
		engines = append(engines, "engine.driver="+driver)
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, engine)
			all := 4
			if engine == "engine.model=single" {
				all = 1
			}
			lengths := map[string]int{}
			for i := range all {
				c := s.dial()
				lengths[c.LocalAddr().String()] = 100 + i
				if err := exchange(c, 100+i); err != nil {
					t.Fatal(err)
				}
			}
			page := s.until("state=idle", "all of them, answered", func(l *List) bool {
				return len(l.Connections) == all &&
					!slices.ContainsFunc(l.Connections, func(c Connection) bool { return c.Requests == 0 })
			})
			if page.Open != all || page.Matched != all || page.States["idle"] != all {
				t.Errorf("counted %d, %d, %v; want %d", page.Open, page.Matched, page.States, all)
			}
			for _, c := range page.Connections {
				if uint64(lengths[c.Peer]) != c.ReceivedBytes || c.SentBytes == 0 || c.Requests != 1 || c.Local != s.Address() {
					t.Errorf("listed %+v; sent %d bytes", c, lengths[c.Peer])
				}
				if c.Protocol != "http" || c.Listener != s.URLs()[0] || c.TCP == nil || c.TCP.State != "ESTABLISHED" {
					t.Errorf("listed %+v", c)
				}
			}
			var one Connection
			s.ask("GET", "/v1/conns/"+page.Connections[0].ID, "", &one)
			if one.Peer != page.Connections[0].Peer {
				t.Errorf("found %+v for %+v", one, page.Connections[0])
			}
			s.ask("DELETE", "/v1/conns/"+one.ID, "", nil)
			s.until("", "one less", func(l *List) bool { return l.Open == all-1 })
			var ends struct{ Closed []Connection }
			s.ask("GET", "/v1/closed", "cause=operator", &ends)
			if len(ends.Closed) != 1 || ends.Closed[0].ID != one.ID || ends.Closed[0].ReceivedBytes != one.ReceivedBytes {
				t.Errorf("ended %+v, want %s", ends.Closed, one.ID)
			}
		})
	}
}

func TestSelections(t *testing.T) {
	s := serve(t, "engine.loops=2")
	for i := range 10 {
		c := s.dial()
		for range i + 1 {
			if err := exchange(c, 100+i); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.until("state=idle", "all ten", func(l *List) bool { return l.Matched == 10 })
	for _, test := range []struct {
		query string
		want  int
	}{
		{"peer=127.0.0.0/8", 10},
		{"peer=10.0.0.0/8", 0},
		{"peer=127.0.0.1", 10},
		{"older=1h", 0},
		{"idle=1h", 0},
		{"min_bytes=2000", 2000}, // as many as have so many: below
		{"protocol=http", 10},
		{"protocol=upstream", 0},
		{"listener=0", 10},
		{"listener=" + s.Address(), 10},
		{"state=ESTABLISHED", 10},
		{"state=close-wait,paused", 0},
		{"loop=7", 0},
	} {
		page := s.list(test.query)
		if test.want == 2000 {
			test.want = len(slices.DeleteFunc(s.list("").Connections, func(c Connection) bool {
				return c.ReceivedBytes+c.SentBytes < 2000
			}))
		}
		if page.Matched != test.want || len(page.Connections) != test.want || page.Open != 10 {
			t.Errorf("%s: %d matched and %d listed of %d, want %d", test.query, page.Matched, len(page.Connections),
				page.Open, test.want)
		}
	}
	busiest := s.list("sort=requests&limit=3")
	for i, c := range busiest.Connections {
		if c.Requests != uint32(10-i) {
			t.Errorf("place %d has %d requests", i, c.Requests)
		}
	}
	together := s.dial() // three requests, and half of another
	request := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	if _, err := together.Write([]byte(strings.Repeat(request, 3) + request[:9])); err != nil {
		t.Fatal(err)
	}
	s.until("peer=127.0.0.1", "three of it", func(l *List) bool {
		return slices.ContainsFunc(l.Connections, func(c Connection) bool {
			return c.Peer == together.LocalAddr().String() && c.Requests == 3
		})
	})
	if err := together.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("", "the others", func(l *List) bool { return l.Open == 10 })
	quietest := s.list("sort=in&order=asc&offset=1&limit=2")
	if len(quietest.Connections) != 2 || quietest.Connections[0].ReceivedBytes != 2*101 {
		t.Errorf("second by bytes received: %+v", quietest.Connections)
	}
}

// TestCloseMany closes by selection: a dry run closes nothing, a limit is kept, and what is closed is closed for the
// client too.
func TestCloseMany(t *testing.T) {
	s := serve(t, "engine.loops=2")
	peers := map[string]net.Conn{}
	for range 10 {
		c := s.dial()
		peers[c.LocalAddr().String()] = c
		if err := exchange(c, 100); err != nil {
			t.Fatal(err)
		}
	}
	var done Closed
	if s.ask("POST", "/v1/conns/close", "min_bytes=1&dry_run=true", &done); done != (Closed{Matched: 10, DryRun: true}) {
		t.Errorf("a dry run: %+v", done)
	}
	if s.ask("POST", "/v1/conns/close", "min_bytes=1&limit=4", &done); done.Closed != 4 {
		t.Errorf("with a limit of 4: %+v", done)
	}
	left := s.until("", "six left", func(l *List) bool { return l.Open == 6 })
	for _, c := range left.Connections {
		delete(peers, c.Peer)
	}
	for peer, c := range peers {
		if err := c.SetDeadline(time.Now().Add(hang)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s saw %v, not a reset", peer, err)
		}
	}
}

// TestRefusals asks for what cannot be done.
func TestRefusals(t *testing.T) {
	s := serve(t, "engine.loops=1")
	for _, test := range []struct{ method, path, query, wrong string }{
		{"GET", "/v1/conns", "state=bogus", "there is no state \"bogus\": there are opening, active, idle"},
		{"GET", "/v1/conns", "sort=colour", "there are id, age"},
		{"GET", "/v1/conns", "order=up", "asc or desc"},
		{"GET", "/v1/conns", "limit=10001", "0 to 10000"},
		{"GET", "/v1/conns", "limit=-1", "0 to 10000"},
		{"GET", "/v1/conns", "offset=99999&limit=2", "select fewer"},
		{"GET", "/v1/conns", "older=5", "such as 30s"},
		{"GET", "/v1/conns", "peer=example.org", "such as 192.0.2.7"},
		{"GET", "/v1/conns", "listener=9", "there is no such listener; there are http://127"},
		{"GET", "/v1/conns", "protocol=gopher", "there are http"},
		{"GET", "/v1/conns", "min_bytes=x", "invalid syntax"},
		{"GET", "/v1/conns", "colour=red", "no such parameter; there are state"},
		{"GET", "/v1/conns/x", "", "is no ID"},
		{"GET", "/v1/conns/1", "", "there is no such connection"},
		{"DELETE", "/v1/conns/1", "", "there is no such connection"},
		{"POST", "/v1/conns/close", "", "nothing says which"},
		{"POST", "/v1/conns/close", "limit=3", "nothing says which"},
		{"GET", "/v1/closed", "cause=boredom", "no such cause"},
		{"GET", "/v1/nothing", "", "see GET /v1/"},
		{"PUT", "/v1/log/level", "", "is no level"},
		{"POST", "/v1/upstreams/none/drain", "endpoint=1.2.3.4:5", "there is no such upstream"},
	} {
		values, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.client.Ask(t.Context(), test.method, test.path, values, nil)
		if err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s %s?%s: %v, want %q", test.method, test.path, test.query, err, test.wrong)
		}
	}
}

// TestDocuments reads everything that has no parameters.
func TestDocuments(t *testing.T) {
	s := serve(t, "engine.loops=2", "routes=[{prefix: /, respond: {body: x, headers: {Set-Cookie: s3cret}}}]")
	for path, want := range map[string]string{
		"/v1/": "/v1/conns", "/v1/status": `"log_level": "info"`, "/v1/loops": `"busy_share"`,
		"/v1/drivers":   `"in_use": true`,
		"/v1/upstreams": `"upstreams": []`, "/v1/pools": `"pools": []`, "/v1/config": `"(hidden)"`,
		"/v1/causes": `"code": "pressure"`, "/v1/closed": `"closed": []`,
	} {
		text := s.ask("GET", path, "", nil)
		if !json.Valid([]byte(text)) || !strings.Contains(text, want) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: %s", path, text)
		}
	}
	var figures Figures
	s.ask("GET", "/v1/loops", "", &figures)
	if len(figures.Loops) != 2 {
		t.Errorf("%d loops", len(figures.Loops))
	}
}

func TestLogLevel(t *testing.T) {
	s := serve(t, "engine.loops=1")
	put := func(body string) int {
		const level = "http://x/v1/log/level"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, level, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.client.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for _, body := range []string{`{"level": "debug"}`, "error\n"} {
		if status := put(body); status != 200 {
			t.Errorf("%q is answered with %d", body, status)
		}
	}
	if levelText(s.level) != "error" || !strings.Contains(s.log.String(), "from=info to=debug") {
		t.Errorf("the level is %s; the log has %s", s.level, s.log)
	}
	if status := put("loud"); status != 400 {
		t.Errorf("a level that there is not is answered with %d", status)
	}
}

// TestDrain takes an endpoint out of an upstream and puts it back.
func TestDrain(t *testing.T) {
	s := serve(t, "engine.loops=1",
		"upstreams={app: {endpoints: [{address: 127.0.0.1:7}, {address: 127.0.0.1:9}]}}",
		"routes=[{prefix: /, proxy: {upstream: app}}]")
	states := func() (addresses []string) {
		var all struct {
			Upstreams []struct{ Endpoints []struct{ Address string } }
			Drained   map[string][]string
		}
		s.ask("GET", "/v1/upstreams", "", &all)
		for _, e := range all.Upstreams[0].Endpoints {
			addresses = append(addresses, e.Address)
		}
		return append(addresses, all.Drained["app"]...)
	}
	s.ask("POST", "/v1/upstreams/app/drain", "endpoint=127.0.0.1:7", nil)
	if got := states(); !slices.Equal(got, []string{"127.0.0.1:9", "127.0.0.1:7"}) {
		t.Errorf("after the drain: %v", got)
	}
	for endpoint, wrong := range map[string]string{"127.0.0.1:9": "the last", "127.0.0.1:8": "no such endpoint"} {
		_, err := s.client.Ask(t.Context(), "POST", "/v1/upstreams/app/drain", url.Values{"endpoint": {endpoint}}, nil)
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	s.ask("POST", "/v1/upstreams/app/restore", "endpoint=127.0.0.1:7", nil)
	if got := states(); !slices.Equal(got, []string{"127.0.0.1:7", "127.0.0.1:9"}) {
		t.Errorf("after it was restored: %v", got)
	}
}

// TestEvents follows the events until an end that was not orderly is told.
func TestEvents(t *testing.T) {
	s := serve(t, "engine.loops=1")
	if _, next := s.admin.sampler.figures(s.App); next == nil {
		t.Fatal("who follows from the first moment on is never told anything")
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	c := s.dial()
	if err := exchange(c, 100); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(response.Body)
	figures := 0
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "event: figures":
			if figures++; figures == 1 {
				s.ask("POST", "/v1/conns/close", "all=true", nil)
			}
		case strings.HasPrefix(line, "data: ") && strings.Contains(line, `"cause":"operator"`):
			if !strings.Contains(line, c.LocalAddr().String()) {
				t.Errorf("told: %s", line)
			}
			return
		}
	}
	t.Fatalf("after %d figures the events end: %v", figures, lines.Err())
}

// TestRights holds the socket to its user, and a TCP port to this machine's pages.
func TestRights(t *testing.T) {
	s := serve(t, "engine.loops=1")
	found, err := os.Lstat(s.socket)
	if err != nil || found.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", found.Mode(), err)
	}
	second := New(s.App, s.level)
	var at config.AutoOrOffOrAddress
	if err := at.UnmarshalText([]byte("unix:" + s.socket)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Start(at); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a second server: %v", err)
	}
	if err := at.UnmarshalText([]byte("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	where, err := second.Start(at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	for _, test := range []struct {
		host, origin string
		want         int
	}{
		{where, "", 200},
		{"localhost", "", 200},
		{"[::1]:80", "", 200},
		{"rebound.example", "", 403},
		{"192.0.2.1", "", 403},
		{where, "http://" + where, 200},
		{where, "http://evil.example", 403},
		{where, "null", 403},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+where+"/v1/conns", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Host, request.Close = test.host, true
		if test.origin != "" {
			request.Header.Set("Origin", test.origin)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("host %q, origin %q: %d, want %d", test.host, test.origin, response.StatusCode, test.want)
		}
	}
}

// TestRuntimeFolder finds the only server, says what to do about none and about two, and listens in no folder that
// others may write to.
func TestRuntimeFolder(t *testing.T) {
	s := serve(t, "engine.loops=1")
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	if _, err := Dial(""); err == nil || !strings.Contains(err.Error(), "no server of this user") {
		t.Errorf("without a server: %v", err)
	}
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(runtime, "999999999.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	_ = killed.Close()
	if err := os.Mkdir(Folder(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(runtime, "999999999.sock"), filepath.Join(Folder(), "999999999.sock")); err != nil {
		t.Fatal(err)
	}
	own := New(s.App, s.level)
	where, err := own.Start(config.AutoOrOffOrAddress{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial("")
	if err != nil || client.Where != where {
		t.Fatalf("found %v, %v; want %s", client, err, where)
	}
	if _, err := client.Ask(t.Context(), "GET", "/v1/status", nil, nil); err != nil {
		t.Error(err)
	}
	client.http.CloseIdleConnections()
	other, err := net.Listen("unix", filepath.Join(Folder(), "1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(""); err == nil || !strings.Contains(err.Error(), "2 servers of this user run") {
		t.Errorf("with two servers: %v", err)
	}
	_ = other.Close()
	if err := own.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(Folder() + "/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.Chmod(Folder(), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s.App, s.level).Start(config.AutoOrOffOrAddress{}); err == nil {
		t.Error("it listens where everybody may put a socket")
	}
}

// TestCurl asks as people do who have no client of ours.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here")
	}
	s := serve(t, "engine.loops=1")
	if err := exchange(s.dial(), 100); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(curl, "-sS", "--fail", "--unix-socket", s.socket, "http://x/v1/conns?sort=in").Output()
	var page List
	if err == nil {
		err = json.Unmarshal(out, &page)
	}
	if err != nil || len(page.Connections) != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTooManyLists refuses those who ask while others look through everything.
func TestTooManyLists(t *testing.T) {
	s := serve(t, "engine.loops=1")
	for range listsAtOnce {
		s.admin.lists <- struct{}{}
	}
	_, err := s.client.Ask(t.Context(), "GET", "/v1/conns", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "others look through") {
		t.Errorf("answered: %v", err)
	}
	for range listsAtOnce {
		<-s.admin.lists
	}
	s.list("")
}

// TestChurn lists while connections come and go as fast as they can: what is told of an ID always belongs to one
// client, and fits what that client has done.
func TestChurn(t *testing.T) {
	s := serve(t, "engine.loops=2")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 4)
	for client := range cap(failed) {
		go func() { failed <- s.churn(ctx, client) }()
	}
	owners, seen := map[string]string{}, 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) || seen < 20; {
		for _, c := range s.list("sort=age&limit=1000").Connections {
			if c.Peer == "" {
				continue // its peer has reset it: the kernel has forgotten who that was
			}
			seen++
			if before, known := owners[c.ID]; known && before != c.Peer {
				t.Fatalf("%s is of %s, and was of %s", c.ID, c.Peer, before)
			}
			owners[c.ID] = c.Peer
			// Clients send one request, whose length says on which port they are.
			var port int
			if _, err := fmt.Sscanf(c.Peer, "127.0.0.1:%d", &port); err != nil {
				t.Fatal(err)
			}
			if c.ReceivedBytes != 0 && c.ReceivedBytes != uint64(100+port%1000) {
				t.Fatalf("%+v; its client has sent 0 or %d bytes", c, 100+port%1000)
			}
		}
	}
	cancel()
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d records of %d connections", seen, len(owners))
}

// churn connects, sends one request, and closes, again and again.
func (s *server) churn(ctx context.Context, client int) error {
	for i := 0; ctx.Err() == nil; i++ {
		c, err := net.DialTimeout("tcp", s.Address(), hang)
		if err != nil {
			return err
		}
		if (i+client)%3 > 0 {
			err = exchange(c, 100+c.LocalAddr().(*net.TCPAddr).Port%1000)
		}
		if (i+client)%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
