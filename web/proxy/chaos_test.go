package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestChaos has clients and upstreams do whatever they like, in pieces, late, too early, wrong, or not at all. Whatever
// happens: an answer that a client takes for whole is the answer to its request; a request that must not be repeated
// reaches at most one upstream; and in the end nothing is left over. CHAOS_SEED replays one run.
func TestChaos(t *testing.T) {
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		chaos(t, seed)
		return
	}
	runs := uint64(1500)
	if testing.Short() {
		runs = 150
	}
	for seed := range runs {
		if chaos(t, seed); t.Failed() {
			t.Fatalf("replay with CHAOS_SEED=%d", seed)
		}
	}
}

// world is a run.
type world struct {
	*rig
	random  *rand.Rand
	clients []*visitor
	servers map[*webtest.Conn]*server
	seen    map[string]int // heads that reached upstreams, by method and path
}

// visitor is a client and what it has still to say.
type visitor struct {
	*webtest.Conn
	rest    []byte
	paths   []string
	methods []string
}

// server is the other end of a link.
type server struct {
	head    http1.Request
	body    http1.BodyDecoder
	reading bool   // a body
	path    string // of the request that is read
	size    int    // of its content, as far as it has not come
	answer  []byte // what it has still to say
	ends    bool   // behind that
	busy    bool   // it has begun to answer
	deaf    bool   // what comes is no HTTP any more
}

func chaos(t *testing.T, seed uint64) {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 7)), servers: map[*webtest.Conn]*server{}, seen: map[string]int{},
	}
	w.rig = newRig(t, func(o *proxy.Options, u *upstream.Options, s *web.Server) {
		o.Attempts, o.ReplayBytes = w.random.IntN(4)-1, 1+w.random.IntN(3000)
		o.Budget, o.QueuedBytes = 1, 2000
		s.Limits.DiscardBytes = 1000
		u.Endpoints = u.Endpoints[:1+w.random.IntN(2)]
		for i := range u.Endpoints {
			u.Endpoints[i].Connections = 1 + w.random.IntN(3)
		}
		o.Timeouts = proxy.Timeouts{FirstByte: 5 * time.Second, BetweenBytes: 4 * time.Second, Tunnel: time.Minute}
	})
	for i := range 1 + w.random.IntN(4) {
		w.clients = append(w.clients, w.visitor(i))
	}
	for range 300 {
		w.step()
	}
	w.finish(t)
}

// visitor makes a client with some requests.
func (w *world) visitor(number int) *visitor {
	v := &visitor{Conn: w.connect()}
	for i := range 1 + w.random.IntN(4) {
		method := []string{"GET", "POST", "PUT", "POST", "HEAD"}[w.random.IntN(5)]
		path := fmt.Sprintf("/%d-%d", number, i)
		v.paths, v.methods = append(v.paths, path), append(v.methods, method)
		body := strings.Repeat("b", w.random.IntN(4)*w.random.IntN(2000))
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nX-Size: %d\r\n", method, path, len(body))
		if w.random.IntN(6) == 0 {
			head += "Expect: 100-continue\r\n"
		}
		switch {
		case method == "GET" || method == "HEAD":
			if w.random.IntN(8) == 0 {
				head += "Connection: Upgrade\r\nUpgrade: x\r\n"
			}
			head, body = strings.Replace(head, "X-Size", "X-None", 1)+"\r\n", ""
		case w.random.IntN(2) == 0:
			head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
		default:
			head += "Transfer-Encoding: chunked\r\n\r\n"
			body = string(http1.AppendChunkEnd(http1.AppendChunk(nil, []byte(body)), http1.FieldLine{Name: "X-T", Value: "1"}))
		}
		v.rest = append(v.rest, head+body...)
	}
	if w.random.IntN(20) == 0 {
		v.rest = append(v.rest, "x\x00y\r\n\r\n"...)
	}
	return v
}

// step does one thing.
func (w *world) step() {
	v := w.clients[w.random.IntN(len(w.clients))]
	switch dice := w.random.IntN(100); {
	case dice < 35:
		n := min(len(v.rest), 1+w.random.IntN(3000))
		v.Receive(v.rest[:n])
		v.rest = v.rest[n:]
	case dice < 80:
		w.serveAll()
	case dice < 85:
		v.Stuck = !v.Stuck
	case dice < 90:
		if n := len(w.dialer.Conns); n > 0 {
			c := w.dialer.Conns[w.random.IntN(n)]
			c.Stuck = !c.Stuck
		}
	case dice < 96:
		w.pass(time.Duration(w.random.IntN(3000)) * time.Millisecond)
	case dice == 96:
		v.Abort(syscall.ECONNRESET)
	case dice == 97:
		v.End()
	case dice == 98:
		w.dialer.Refuse = syscall.ECONNREFUSED
	default:
		w.dialer.Refuse = nil
	}
	w.settle()
}

// settle lets everything happen that can.
func (w *world) settle() {
	for range 3 {
		w.dialer.Turn()
		for _, v := range w.clients {
			if v.State() != conn.Closed {
				v.Turn()
			}
		}
	}
}

// pass moves time.
func (w *world) pass(d time.Duration) {
	w.dialer.Advance(d)
	for _, v := range w.clients {
		if v.State() != conn.Closed {
			v.Advance(d)
		}
	}
	w.settle()
}

// serveAll lets every upstream read, and say something.
func (w *world) serveAll() {
	for i := 0; i < len(w.dialer.Conns); i++ {
		c := w.dialer.Conns[i]
		if c.State() == conn.Opening || c.State() == conn.Closed {
			continue
		}
		s := w.servers[c]
		if s == nil {
			s = new(server)
			w.servers[c] = s
		}
		w.read(c, s)
		w.say(c, s)
	}
}

// read reads what an upstream was sent.
func (w *world) read(c *webtest.Conn, s *server) {
	for len(c.Sent) > 0 && !s.deaf {
		if s.reading {
			payload, n, done, err := s.body.Decode(c.Sent)
			if s.size -= len(payload); err != nil || done && s.size != 0 {
				w.t.Errorf("the content of %s is broken: %v, %d bytes are missing", s.path, err, s.size)
				s.deaf = true
				return
			}
			c.Sent = c.Sent[n:]
			if s.reading = !done; done && !s.busy {
				w.answer(s)
			}
			continue
		}
		n, err := s.head.Parse(c.Sent, nil)
		if err != nil {
			w.t.Errorf("an upstream got %q: %v", c.Sent, err)
			s.deaf = true
		}
		if n == 0 {
			return
		}
		s.path, s.busy = s.head.Method.String()+" "+string(s.head.Path()), false
		w.seen[s.path]++
		s.body.Start(&s.head)
		size, _ := s.head.Lookup("X-Size")
		s.size, _ = strconv.Atoi(string(size))
		if s.reading = s.head.HasBody(); !s.reading || w.random.IntN(8) == 0 {
			w.answer(s)
		}
		c.Sent = c.Sent[n:]
	}
}

// answer thinks of an answer.
func (w *world) answer(s *server) {
	s.busy = true
	text := s.path + strings.Repeat("a", w.random.IntN(4)*w.random.IntN(3000))
	fields := fmt.Sprintf("X-Path: %s\r\nX-Size: %d\r\n", s.path, len(text))
	head := "HTTP/1.1 200 OK\r\n" + fields
	add := func(text string) { s.answer = append(s.answer, text...) }
	if w.random.IntN(6) == 0 {
		add([]string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"}[w.random.IntN(2)])
	}
	bare := s.head.Method == http1.HEAD
	switch dice := w.random.IntN(20); {
	case dice < 8:
		add(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(text)))
		if !bare {
			add(text)
		}
	case dice < 13:
		add(head + "Transfer-Encoding: chunked\r\n\r\n")
		if !bare {
			s.answer = http1.AppendChunk(s.answer, []byte(text[:len(s.path)]))
			s.answer = http1.AppendChunk(s.answer, []byte(text[len(s.path):]))
			s.answer = http1.AppendChunkEnd(s.answer)
		}
	case dice < 14:
		add("HTTP/1.0 200 OK\r\n" + strings.Replace(fields, "X-Size", "X-Any", 1) + "\r\n")
		if !bare {
			add(text)
		}
		s.ends = true
	case dice < 15:
		add("HTTP/1.1 304 Not Modified\r\nX-Path: " + s.path + "\r\nContent-Length: 9\r\n\r\n")
	case dice < 16:
		add("nonsense\r\n")
	case dice < 17:
		add(head + []string{
			"Content-Length: 100000\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
		}[w.random.IntN(2)])
		s.ends = true
	case dice < 18:
		add("HTTP/1.1 200 OK\r\nX-Path: " + s.path + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		s.ends = true
	case dice < 19 && s.head.ConnectionNames([]byte("upgrade")):
		add("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nX-Path: " + s.path + "\r\n\r\ntunnel")
		s.deaf = true
	default: // silence
	}
}

// say has an upstream say some of its answer, or break.
func (w *world) say(c *webtest.Conn, s *server) {
	switch dice := w.random.IntN(60); {
	case dice == 0:
		c.Abort(syscall.ECONNRESET)
	case dice == 1:
		c.End()
	case len(s.answer) > 0:
		n := min(len(s.answer), 1+w.random.IntN(4000))
		c.Receive(s.answer[:n])
		s.answer = s.answer[n:]
	case s.ends:
		c.End()
	}
}

// finish lets everything come to its end, and looks at what came of it.
func (w *world) finish(t *testing.T) {
	w.dialer.Refuse = nil
	for range 60 {
		for _, c := range w.dialer.Conns {
			c.Stuck = false
		}
		for _, v := range w.clients {
			v.Stuck = false
			v.Receive(v.rest)
			v.rest = nil
		}
		w.serveAll()
		w.pass(2 * time.Second)
	}
	for _, v := range w.clients {
		v.End()
	}
	for range 5 {
		w.pass(time.Minute)
	}
	for i, v := range w.clients {
		if v.State() != conn.Closed {
			t.Errorf("client %d is %v", i, v.State())
		}
		v.check(t)
	}
	for path, n := range w.seen {
		if n > 1 && strings.HasPrefix(path, "POST") {
			t.Errorf("%s was sent %d times", path, n)
		}
	}
	if n := w.proxy.Busy(w.dialer.Number()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	now := w.group.Snapshot()
	for _, e := range now.Endpoints {
		if e.Leased != 0 || now.Waiting != 0 {
			t.Errorf("%d links of %s are leased, %d requests wait", e.Leased, e.Address, now.Waiting)
		}
	}
}

// check reads the answers that a client got: each that is whole is the one to its request.
func (v *visitor) check(t *testing.T) {
	in := bufio.NewReader(bytes.NewReader(v.Sent))
	for i := 0; i < len(v.paths); {
		response, err := http.ReadResponse(in, &http.Request{Method: v.methods[i]})
		if err != nil {
			return
		}
		if response.StatusCode == 101 || response.StatusCode == 400 || response.StatusCode == 408 {
			return
		}
		if response.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(response.Body)
		want := v.methods[i] + " " + v.paths[i]
		if path := response.Header.Get("X-Path"); response.StatusCode < 400 && path != want {
			t.Errorf("%s got the answer to %q", want, path)
		}
		if err == nil && response.StatusCode == 200 && len(body) > 0 && !strings.HasPrefix(string(body), want) {
			t.Errorf("%s got %q", want, body)
		}
		size, sized := strconv.Atoi(response.Header.Get("X-Size"))
		if err == nil && sized == nil && size != len(body) && v.methods[i] != "HEAD" {
			t.Errorf("%s got %d bytes for a whole of %d", want, len(body), size)
		}
		if response.Close || err != nil {
			return
		}
		i++
	}
}
