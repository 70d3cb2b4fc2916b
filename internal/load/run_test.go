package load

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/standard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestClosedLoop counts exactly, over every driver that works here and with one worker and two.
func TestClosedLoop(t *testing.T) {
	for _, f := range standard.Drivers() {
		if !f.Probe().OK {
			continue
		}
		for _, threads := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", f.Name, threads), func(t *testing.T) {
				server := web(t, good)
				before := descriptors(t)
				p := server.plan(t, "http")
				p.Driver, p.Threads, p.Requests, p.Duration = f.Name, threads, 501, time.Minute
				r := perform(t, p)
				if r.Requests.Good != 501 || r.Requests.Statuses[1] != 501 || server.asked.Load() != 501 {
					t.Errorf("the server was asked %d times:\n%s", server.asked.Load(), r)
				}
				if r.Requests.Late != 0 { // the measured time ends with the last answer
					t.Errorf("%d were answered after the end:\n%s", r.Requests.Late, r)
				}
				if r.Latency.Count != 501 || !r.Begin.Proven || !r.End.Proven || r.Begin.Own != 8 {
					t.Errorf("not proven:\n%s", r)
				}
				if server.accepted.Load() != 8 || r.Connections.Made != 8 || r.Connections.ClosedByUs != 8 {
					t.Errorf("%d connections:\n%s", server.accepted.Load(), r)
				}
				if after := descriptors(t); after > before+8 { // the server's ends may not be closed yet
					t.Errorf("%d descriptors became %d", before, after)
				}
			})
		}
	}
}

// TestFailures has a server err in every way, once in a while, and wants each error by its cause.
func TestFailures(t *testing.T) {
	some := func(bad func(io.Writer, *http.Request, int64) error) func(io.Writer, *http.Request, int64) error {
		return func(w io.Writer, r *http.Request, n int64) error {
			if n%10 == 0 {
				return bad(w, r, n)
			}
			return good(w, r, n)
		}
	}
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name  string
		bad   func(io.Writer, *http.Request, int64) error
		cause string
	}{
		{"404", say("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", nil), "status 4xx"},
		{"500", say("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", nil), "status 5xx"},
		{"closed", say("", errHangUp), causeClosed},
		{"reset", say("", errReset), "reset by the server"},
		{"short", say(head+"Content-Length: 5\r\n\r\nhel", errHangUp), causeShort},
		{"short head", say(head+"Content-Le", errHangUp), causeShort},
		{"short chunk", say(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", errHangUp), causeShort},
		{"wrong", say(head+"Content-Length: 5\r\n\r\nhallo", nil), causeWrong},
		{"longer", say(head+"Content-Length: 6\r\n\r\nhello!", nil), causeWrong},
		{"shorter", say(head+"Content-Length: 4\r\n\r\nhell", nil), causeWrong},
		{"malformed", say("HTTP/9 200\r\n\r\n", errHangUp), causeMalformed + "malformed status line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := web(t, some(c.bad))
			p := server.plan(t, "http")
			p.Requests, p.Duration, p.Request.Expect = 200, time.Minute, []byte("hello")
			r := perform(t, p)
			if r.Requests.Begun != 200 || r.Requests.Failed != 20 || r.Errors[c.cause] != 20 || len(r.Errors) != 1 {
				t.Errorf("%v\n%s", r.Errors, r)
			}
			if cut := r.Requests.Begun != r.Latency.Count; cut != strings.Contains(r.String(), "cut off before an answer") {
				t.Errorf("%d of %d requests have a latency, and that is said, or it is not:\n%s", r.Latency.Count,
					r.Requests.Begun, r)
			}
			if asked := server.asked.Load(); asked != 200 {
				t.Errorf("the server was asked %d times", asked)
			}
		})
	}
}

// TestAnswers has a server answer rightly in unusual ways.
func TestAnswers(t *testing.T) {
	pieces := func(list ...string) func(io.Writer, *http.Request, int64) error {
		return func(w io.Writer, _ *http.Request, _ int64) error {
			for _, text := range list {
				if _, err := io.WriteString(w, text); err != nil {
					return err
				}
			}
			return nil
		}
	}
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name   string
		answer func(io.Writer, *http.Request, int64) error
	}{
		{"pieces", pieces("HTTP", "/1.1 200 OK\r\nContent-Le", "ngth: 5\r\n", "\r\nhe", "llo")},
		{"chunks", pieces(head+"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "3;x=y\r\nllo\r\n0\r\nX: y\r\n", "\r\n")},
		{"interim", pieces("HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", hello)},
		{"interim at once", pieces("HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + hello)},
		{"until the end", say(head+"\r\nhello", errHangUp)},
		{"and closes", say(head+"Content-Length: 5\r\nConnection: close\r\n\r\nhello", errHangUp)},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := web(t, c.answer)
			p := server.plan(t, "http")
			p.Requests, p.Duration, p.Request.Expect = 100, time.Minute, []byte("hello")
			if r := perform(t, p); r.Requests.Good != 100 || server.asked.Load() != 100 {
				t.Errorf("the server was asked %d times, %v:\n%s", server.asked.Load(), r.Errors, r)
			}
		})
	}
}

func TestPipeline(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Pipeline, p.Requests, p.Duration = 16, 1000, time.Minute
	r := perform(t, p)
	if r.Requests.Good != 1000 || server.asked.Load() != 1000 {
		t.Errorf("the server was asked %d times:\n%s", server.asked.Load(), r)
	}
}

// TestConnections counts the connections of runs that make new ones.
func TestConnections(t *testing.T) {
	for _, c := range []struct {
		name        string
		per         int
		pipeline    int
		connections int64
	}{
		{"each", 1, 1, 300},
		{"three", 3, 1, 100},
		{"pipelined", 6, 3, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := web(t, good)
			p := server.plan(t, "http")
			p.Connections, p.PerConnect, p.Pipeline, p.Requests, p.Duration = 5, c.per, c.pipeline, 300, time.Minute
			r := perform(t, p)
			if r.Requests.Good != 300 || server.asked.Load() != 300 {
				t.Errorf("the server was asked %d times:\n%s", server.asked.Load(), r)
			}
			if got := server.accepted.Load(); got < c.connections || got > c.connections+5 {
				t.Errorf("%d connections, want %d", got, c.connections)
			}
			if uint64(server.accepted.Load()) != r.Connections.Made {
				t.Errorf("%d connections, %d told", server.accepted.Load(), r.Connections.Made)
			}
		})
	}
}

// TestRefused has nobody listen: that is told at once, and not when the time is over.
func TestRefused(t *testing.T) {
	p := Default()
	p.Target = Target{Scheme: "http", Address: unused(t), Host: "x", URI: "/", Text: "http://x/"}
	p.Duration = time.Hour
	if _, err := Run(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

// TestTimeout has a server that never answers some requests.
func TestTimeout(t *testing.T) {
	server := web(t, func(w io.Writer, r *http.Request, n int64) error {
		if n%5 == 0 {
			return nil
		}
		return good(w, r, n)
	})
	p := server.plan(t, "http")
	p.Requests, p.Duration, p.Timeout = 50, time.Minute, time.Second // no good answer takes so long
	r := perform(t, p)
	if r.Requests.Failed != 10 || r.Errors[causeTimeout] != 10 || r.Requests.Good != 40 {
		t.Errorf("%v\n%s", r.Errors, r)
	}
	if r.Latency.Count != 50 || r.Latency.P90 < p.Timeout {
		t.Errorf("those that were waited for in vain are not among the latencies:\n%s", r)
	}
}

// TestEnd has a server that is silent when the time is over.
func TestEnd(t *testing.T) {
	release := make(chan struct{})
	server := web(t, func(io.Writer, *http.Request, int64) error { <-release; return errHangUp })
	defer close(release)
	p := server.plan(t, "http")
	p.Duration, p.Grace = 500*time.Millisecond, 20*time.Millisecond
	r := perform(t, p)
	if r.Requests.Begun != 8 || r.Errors[causeEnd] != 8 || r.Latency.Count != 8 {
		t.Errorf("%v\n%s", r.Errors, r)
	}
}

// TestOpenLoop checks that as many requests are due as the rate says, and that a server which stands still makes all
// of them late that are due meanwhile.
func TestOpenLoop(t *testing.T) {
	const stall = 400 * time.Millisecond
	var stopped atomic.Bool
	server := web(t, func(w io.Writer, r *http.Request, n int64) error {
		if n == 200 && stopped.CompareAndSwap(false, true) {
			until := time.NewTimer(stall)
			defer until.Stop()
			<-until.C
		}
		return good(w, r, n)
	})
	p := server.plan(t, "http")
	p.Connections, p.Duration = 1, time.Second
	p.Stages = []Stage{{1000, 1000, time.Second}}
	r := perform(t, p)
	if r.Requests.Due != 1000 || r.Requests.Good+r.Requests.Left != 1000 {
		t.Errorf("%+v", r.Requests)
	}
	// Some 400 requests were due while it stood still, evenly, so a quarter of all waited for 150 ms or longer.
	late := 0.0
	for _, point := range r.Latency.Curve {
		if point.Latency < 150*time.Millisecond {
			late = 1 - point.Quantile
		}
	}
	if r.Latency.Longest < stall-10*time.Millisecond || late < 0.15 {
		t.Errorf("the longest latency is %v, and %.2f of all are longer than 150 ms:\n%s", r.Latency.Longest, late, r)
	}
}

// TestRareArrivals has the last of few random arrivals long before the end, which must not end the measured time.
func TestRareArrivals(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Duration, p.Arrivals, p.Stages = 2*time.Second, Poisson, []Stage{{1, 1, 2 * time.Second}}
	for p.Seed = 1; ; p.Seed++ { // one whose last arrival is early
		s := newSchedule(p.Stages, 0, 1, rand.New(rand.NewPCG(p.Seed, 0)))
		last := int64(0)
		for ; s.next != ended; s.advance() {
			last = s.next
		}
		if last > 0 && last < int64(600*time.Millisecond) {
			break
		}
	}
	r := perform(t, p)
	if r.Duration < 1990*time.Millisecond || r.Requests.Good == 0 || r.Requests.Good != r.Requests.Due {
		t.Errorf("seed %d: measured for %v:\n%s", p.Seed, r.Duration, r)
	}
}

// TestBacklog has more requests due than a silent server leaves room for.
func TestBacklog(t *testing.T) {
	release := make(chan struct{})
	server := web(t, func(io.Writer, *http.Request, int64) error { <-release; return errHangUp })
	defer close(release)
	p := server.plan(t, "http")
	p.Connections, p.Backlog, p.Duration, p.Grace = 3, 10, 100*time.Millisecond, time.Millisecond
	p.Stages = []Stage{{1000, 1000, 100 * time.Millisecond}}
	r := perform(t, p)
	want := Requests{Due: 100, Begun: 3, Failed: 3, Dropped: 87, Left: 10, LongestBacklog: 10}
	q := r.Requests
	if q.Due != want.Due || q.Begun != want.Begun || q.Dropped != want.Dropped || q.Left != want.Left ||
		q.LongestBacklog != want.LongestBacklog {
		t.Errorf("%+v", q)
	}
}

// TestKinds has idle, slow and active connections in one run.
func TestKinds(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Idle, p.Slow = 20, Slow{Connections: 3, Write: 400}
	p.Duration = 1500 * time.Millisecond
	r := perform(t, p)
	if r.Begin.Own != 31 || !r.Begin.Proven || r.End.Own != 31 || !r.End.Proven || server.accepted.Load() != 31 {
		t.Errorf("%d connections:\n%s", server.accepted.Load(), r)
	}
	// 40 bytes are written every 100 ms, and the request has some 40.
	if r.Requests.SlowGood < 3 || r.Requests.SlowGood > 45 {
		t.Errorf("%d requests were written slowly", r.Requests.SlowGood)
	}
	if asked := uint64(server.asked.Load()); asked < r.Requests.Begun+20+r.Requests.SlowGood {
		t.Errorf("the server was asked %d times:\n%s", asked, r)
	}
}

// TestSlowRead reads a long answer at a speed.
func TestSlowRead(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	server := web(t, say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), nil))
	p := server.plan(t, "http")
	p.Connections, p.Slow, p.Duration = 0, Slow{Connections: 2, Read: 64 << 10}, time.Second
	r := perform(t, p)
	if in := r.Requests.BytesIn; in == 0 || in > 1<<19 || r.Requests.SlowGood != 0 {
		t.Errorf("%d bytes were read:\n%s", in, r)
	}
}

// TestIdleLost has a server that closes idle connections.
func TestIdleLost(t *testing.T) {
	server := serve(t, "tcp", func(_ *fake, c net.Conn) error {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := io.Copy(io.Discard, c)
		return err
	})
	p := server.plan(t, "http")
	p.Connections, p.Idle, p.Touch, p.Duration = 0, 5, false, 2*time.Second
	if r := perform(t, p); r.Connections.LostIdle != 5 || r.End.Own != 0 {
		t.Errorf("%s", r)
	}
}

// TestStreams covers the patterns over TCP and Unix sockets.
func TestStreams(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			for _, c := range []struct{ size, pipeline int }{{1, 1}, {64, 8}, {100_000, 1}} {
				server := serve(t, network, echo)
				p := server.plan(t, "tcp")
				p.Request.Bytes, p.Pipeline, p.Requests, p.Duration = c.size, c.pipeline, 100, time.Minute
				r := perform(t, p)
				if r.Requests.Good != 100 || server.asked.Load() != int64(100*c.size) || !r.End.Proven {
					t.Errorf("%d bytes:\n%s", server.asked.Load(), r)
				}
			}
		})
	}
}

// TestEchoWrong has a server change one byte.
func TestEchoWrong(t *testing.T) {
	server := serve(t, "tcp", func(f *fake, c net.Conn) error {
		b := make([]byte, 64)
		for {
			n, err := io.ReadFull(c, b)
			if err != nil {
				return err
			}
			if f.asked.Add(1)%7 == 0 {
				b[13]++
			}
			if _, err := c.Write(b[:n]); err != nil {
				return err
			}
		}
	})
	p := server.plan(t, "tcp")
	p.Requests, p.Duration = 70, time.Minute
	if r := perform(t, p); r.Errors[causeWrong] != 10 || r.Requests.Good != 60 {
		t.Errorf("%v\n%s", r.Errors, r)
	}
}

func TestPingPong(t *testing.T) {
	server := serve(t, "tcp", func(f *fake, c net.Conn) error {
		b := make([]byte, 10)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return err
			}
			f.asked.Add(1)
			if _, err := c.Write([]byte("pong")); err != nil {
				return err
			}
		}
	})
	p := server.plan(t, "tcp")
	p.Request = Request{Pattern: PingPong, Bytes: 10, AnswerBytes: 4}
	p.Requests, p.Duration = 100, time.Minute
	if r := perform(t, p); r.Requests.Good != 100 || server.asked.Load() != 100 {
		t.Errorf("%s", r)
	}
}

func TestBulk(t *testing.T) {
	sink := serve(t, "tcp", func(f *fake, c net.Conn) error {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if f.asked.Add(int64(n)); err != nil {
				return err
			}
		}
	})
	p := sink.plan(t, "tcp")
	p.Request = Request{Pattern: Upload, Bytes: 10_000}
	p.Requests, p.Duration = 500, time.Minute
	r := perform(t, p)
	if r.Requests.Good != 500 || r.Requests.BytesOut != 5_000_000 {
		t.Errorf("%d bytes:\n%s", r.Requests.BytesOut, r)
	}
	source := serve(t, "tcp", func(_ *fake, c net.Conn) error {
		for b := make([]byte, 50_000); ; {
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
	})
	p = source.plan(t, "tcp")
	p.Request = Request{Pattern: Download, Bytes: 1, AnswerBytes: 100_000}
	p.Requests, p.Duration = 200, time.Minute
	if r = perform(t, p); r.Requests.Good != 200 || r.Requests.BytesIn < 20_000_000 {
		t.Errorf("%d bytes:\n%s", r.Requests.BytesIn, r)
	}
}

// TestDatagrams loses some, changes some, and answers some twice.
func TestDatagrams(t *testing.T) {
	server := datagramEcho(t, func(p []byte, n int64) []byte {
		switch {
		case n%20 == 0:
			return nil
		case n%20 == 10:
			p[40]++
		}
		return p
	})
	p := server.plan(t, "udp")
	p.Requests, p.Duration, p.Timeout = 200, time.Minute, time.Second // no answer that comes takes so long
	r := perform(t, p)
	if r.Errors[causeTimeout] != 10 || r.Errors[causeWrong] != 10 || r.Requests.Good != 180 ||
		server.asked.Load() != 200 || r.Latency.Count != 200 || r.Latency.Longest < p.Timeout {
		t.Errorf("%v\n%s", r.Errors, r)
	}
}

// TestDatagramsRefused has nobody at the port.
func TestDatagramsRefused(t *testing.T) {
	p := Default()
	p.Target = Target{Scheme: "udp", Address: unused(t), Text: "udp"}
	p.Connections, p.Requests, p.Duration, p.Timeout = 1, 3, time.Minute, time.Second
	r := perform(t, p)
	if r.Errors["connection refused"] != 3 {
		t.Errorf("%v\n%s", r.Errors, r)
	}
}

// TestThink waits between an answer and the next request.
func TestThink(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Connections, p.Think, p.Duration = 4, 20*time.Millisecond, 2*time.Second
	if r := perform(t, p); r.Requests.Good < 4*5 || r.Requests.Good > 4*101 {
		t.Errorf("%s", r)
	}
}

// TestRampUp has connections join in.
func TestRampUp(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.Connections, p.Think = 10, 10*time.Millisecond
	p.RampUp, p.Duration = 1500*time.Millisecond, 1500*time.Millisecond
	r := perform(t, p)
	first, last := 0.0, 0.0
	for _, v := range r.Intervals {
		if v.At < 0.5 {
			first += v.PerSecond
		} else if v.At >= 1 {
			last += v.PerSecond
		}
	}
	if first >= last {
		t.Errorf("%.0f at first, %.0f at last:\n%s", first, last, r)
	}
}

// TestWarmUp counts nothing of the warm-up.
func TestWarmUp(t *testing.T) {
	server := web(t, good)
	p := server.plan(t, "http")
	p.WarmUp, p.Duration = 500*time.Millisecond, 500*time.Millisecond
	p.Stages = []Stage{{500, 500, time.Second}}
	r := perform(t, p)
	if r.Requests.Due < 250 || r.Requests.Due > 251 || server.asked.Load() <= int64(r.Requests.Begun) {
		t.Errorf("asked %d times:\n%s", server.asked.Load(), r)
	}
}
