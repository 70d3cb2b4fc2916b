package servetest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

// echoQueue is where the echoing handler stops reading.
const echoQueue = 64 << 10

// echoing sends back what comes, and reads no faster than its peer.
func echoing() script {
	return script{
		received: func(c conn.Conn, in []byte) int {
			c.Write(in)
			if c.Queued() > echoQueue {
				c.Pause()
			}
			return len(in)
		},
		flushed: func(c conn.Conn) { c.Resume() },
	}
}

func echo(t *testing.T, s Suite) {
	v := start(t, s, nil, echoing)
	c := v.dial()
	for _, text := range []string{"a", "hello", strings.Repeat("0123456789", 3000)} {
		send(t, c, []byte(text))
		want(t, c, text)
	}
	_ = c.Close()
	v.stop()
}

func addresses(t *testing.T, s Suite) {
	found := make(chan [2]string, 1)
	v := start(t, s, nil, same(script{opened: func(c conn.Conn) {
		found <- [2]string{c.Local().String(), c.Remote().String()}
		if wall := c.Wall() - time.Now().Unix(); wall < -2 || wall > 2 {
			t.Errorf("Wall is %d seconds off", wall)
		}
	}}))
	c := v.dial()
	got := await(t, found, "Opened")
	if wanted := [2]string{c.RemoteAddr().String(), c.LocalAddr().String()}; got != wanted {
		t.Errorf("Local and Remote are %v; want %v", got, wanted)
	}
	_ = c.Close()
	v.stop()
}

func halfClose(t *testing.T, s Suite) {
	var input strings.Builder
	v := start(t, s, nil, same(script{
		received: func(_ conn.Conn, in []byte) int {
			input.Write(in)
			return len(in)
		},
		ended: func(c conn.Conn) {
			c.Write([]byte(strings.ToUpper(input.String())))
			c.Drain()
		},
	}))
	c := v.dial()
	send(t, c, []byte("all that the client has to say"))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want(t, c, "ALL THAT THE CLIENT HAS TO SAY")
	wantEnd(t, c)
	v.stop()
}

// halfCloseByHandler ends the output and goes on with the input, in each order of the two ends.
func halfCloseByHandler(t *testing.T, s Suite) {
	const size = 100 << 10
	for _, row := range []struct {
		name string
		end  func(c conn.Conn)
		why  error
	}{
		{"waits for the peer", func(conn.Conn) {}, nil},
		{"drains", func(c conn.Conn) { c.Drain() }, nil},
		{"aborts", func(c conn.Conn) { c.Abort(nil) }, conn.ErrAborted},
	} {
		ends, got := make(chan error, 1), make(chan int, 1)
		total := 0
		v := start(t, s, nil, same(script{
			received: func(c conn.Conn, in []byte) int {
				if total += len(in); total == len(in) {
					p := make([]byte, size)
					fill(p, 0)
					c.Write(p)
					c.CloseWrite()
					c.Write([]byte("not any more"))
					c.CloseWrite()
					if c.State() != conn.Open || c.Queued() == 0 {
						t.Errorf("%d bytes are queued, in the state %s", c.Queued(), c.State())
					}
				}
				if in[len(in)-1] == '.' {
					got <- total
					row.end(c)
				}
				return len(in)
			},
			closed: func(_ conn.Conn, why error) { ends <- why },
		}))
		client := v.dial()
		send(t, client, []byte("go"))
		if err := wantStream(client, 0, size); err != nil {
			t.Fatal(row.name, err)
		}
		wantEnd(t, client)
		send(t, client, []byte("and then."))
		if n := await(t, got, "what came behind our end"); n != len("goand then.") {
			t.Errorf("%s: %d bytes came", row.name, n)
		}
		_ = client.Close()
		if why := await(t, ends, "Closed"); !errors.Is(why, row.why) {
			t.Errorf("%s: closed for %v", row.name, why)
		}
		v.stop()
	}
}

func bothWays(t *testing.T, s Suite) {
	const size = 8 << 20
	v := start(t, s, nil, echoing)
	c := v.dial()
	sent := make(chan error, 1)
	go func() { sent <- sendStream(c, size, nil) }()
	if err := wantStream(c, 0, size); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c)
	if err := await(t, sent, "sending"); err != nil {
		t.Fatal(err)
	}
	v.stop()
}

// sendStream sends n bytes of the stream and then the end, and counts.
func sendStream(c net.Conn, n int64, count *atomic.Int64) error {
	buffer := make([]byte, 32<<10)
	for at := int64(0); at < n; {
		piece := buffer[:min(int64(len(buffer)), n-at)]
		fill(piece, at)
		k, err := c.Write(piece)
		if err != nil {
			return err
		}
		at += int64(k)
		if count != nil {
			count.Store(at)
		}
	}
	return c.(*net.TCPConn).CloseWrite()
}

// atRest returns the value of a counter once it has not moved for a while.
func atRest(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	const still = 8
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, same := int64(-1), 0
	for deadline := time.Now().Add(patience); same < still; <-tick.C {
		if now := n.Load(); now == last {
			same++
		} else {
			last, same = now, 0
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream never came to rest")
		}
	}
	return last
}

func slowReader(t *testing.T, s Suite) {
	const size = 24 << 20
	const queue = 64 << 10
	var made, most atomic.Int64
	more := func(c conn.Conn) {
		for c.Queued() < queue && made.Load() < size {
			p := c.Reserve(1)
			if p == nil {
				t.Error("no memory for one connection")
				return
			}
			p = p[:min(int64(len(p)), size-made.Load())]
			fill(p, made.Load())
			c.Commit(len(p))
			made.Add(int64(len(p)))
		}
		most.Store(max(most.Load(), c.Queued()))
		if made.Load() == size {
			c.Drain()
		}
	}
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			more(c)
			return len(in)
		},
		flushed: more,
	}))
	c := v.dial()
	if err := c.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	send(t, c, []byte("go"))
	if n := atRest(t, &made); n == 0 || n >= size {
		t.Fatalf("%d bytes were made for a reader that reads nothing", n)
	}
	if err := wantStream(c, 0, size); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c)
	if limit := int64(queue + s.Site.Limits.BlockBytes); most.Load() > limit {
		t.Errorf("%d bytes were queued; at most %d were to be", most.Load(), limit)
	}
	_ = c.Close()
	v.stop()
}

func pause(t *testing.T, s Suite) {
	const size = 40 << 20
	var got, sent atomic.Int64
	var isPaused bool
	refs := make(chan conn.Ref, 1)
	v := start(t, s, nil, same(script{
		opened: func(c conn.Conn) { refs <- c.Ref() },
		received: func(c conn.Conn, in []byte) int {
			if isPaused {
				t.Error("Received while paused")
			}
			if wrong := check(in, got.Load()); wrong >= 0 {
				t.Errorf("wrong byte at %d", got.Load()+int64(wrong))
				c.Abort(nil)
			}
			if got.Add(int64(len(in))) == int64(len(in)) {
				isPaused = true
				c.Pause()
			}
			return len(in)
		},
		ended: func(c conn.Conn) {
			c.Write([]byte("thanks"))
			c.Drain()
		},
	}))
	c := v.dial()
	done := make(chan error, 1)
	go func() { done <- sendStream(c, size, &sent) }()
	ref := await(t, refs, "Opened")
	if n := atRest(t, &sent); n >= size {
		t.Errorf("all %d bytes were taken from a peer that was not read", n)
	}
	ref.Post(func(c conn.Conn) {
		isPaused = false
		c.Resume()
	})
	want(t, c, "thanks")
	if err := await(t, done, "sending"); err != nil {
		t.Fatal(err)
	}
	if got.Load() != size {
		t.Errorf("%d bytes were received of %d", got.Load(), size)
	}
	_ = c.Close()
	v.stop()
}

func restByByte(t *testing.T, s Suite) {
	const record = 10
	seen := make(chan string, 1)
	v := start(t, s, nil, same(script{received: func(c conn.Conn, in []byte) int {
		used := len(in) / record * record
		c.Write(in[:used])
		seen <- string(in)
		return used
	}}))
	c := v.dial()
	const text = "zero to nine and then some more, ten times three"
	for i := range len(text) {
		send(t, c, []byte{text[i]})
		wanted := text[i/record*record : i+1]
		if got := await(t, seen, "Received"); got != wanted {
			t.Fatalf("Received brought %q; want %q", got, wanted)
		}
	}
	want(t, c, text[:len(text)/record*record])
	_ = c.Close()
	v.stop()
}

func restAfterResume(t *testing.T, s Suite) {
	const record = 4
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			if len(in) < record {
				return 0
			}
			c.Write(in[:record])
			c.Pause()
			c.SetTimer(int64(3 * time.Millisecond))
			return record
		},
		expired: func(c conn.Conn) { c.Resume() },
	}))
	c := v.dial()
	text := ""
	for i := range 6 {
		text += fmt.Sprintf("%04d", i)
	}
	send(t, c, []byte(text))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want(t, c, text)
	wantEnd(t, c)
	v.stop()
}

func stuckHandler(t *testing.T, s Suite) {
	most := 0
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		received: func(_ conn.Conn, in []byte) int {
			most = max(most, len(in))
			return 0
		},
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	go func() { _, _ = c.Write(make([]byte, 4*s.Site.Limits.BlockBytes)) }() // fails when the connection ends
	if why := await(t, ends, "Closed"); why == nil {
		t.Error("the connection ended in order")
	}
	if size := s.Site.Limits.BlockBytes; most != size {
		t.Errorf("at most %d bytes were brought at once; want one block, %d", most, size)
	}
	v.stop()
}

func reserveAndCommit(t *testing.T, s Suite) {
	size := s.Site.Limits.BlockBytes
	steps := []struct{ reserve, use int }{{1, 1}, {100, 37}, {size, size}, {size, 0}, {size / 2, size / 2}, {size, 1}}
	total := 0
	for _, step := range steps {
		total += step.use
	}
	v := start(t, s, nil, same(script{received: func(c conn.Conn, in []byte) int {
		at := 0
		for _, step := range steps {
			p := c.Reserve(step.reserve)
			if len(p) < step.reserve {
				t.Errorf("Reserve(%d) gave %d bytes", step.reserve, len(p))
				c.Abort(nil)
				return len(in)
			}
			fill(p[:step.use], int64(at))
			c.Commit(step.use)
			at += step.use
			if c.Queued() != int64(at) {
				t.Errorf("%d bytes are queued; want %d", c.Queued(), at)
			}
		}
		return len(in)
	}}))
	c := v.dial()
	send(t, c, []byte("go"))
	if err := wantStream(c, 0, int64(total)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	v.stop()
}
