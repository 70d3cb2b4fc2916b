package servetest

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
)

func timers(t *testing.T, s Suite) {
	const soon, later = 20 * time.Millisecond, 40 * time.Millisecond
	var set int64
	fired := make(chan time.Duration, 8)
	v := start(t, s, nil, same(script{
		received: func(c conn.Conn, in []byte) int {
			set = c.Now()
			switch in[0] {
			case 's': // the later call counts
				c.SetTimer(int64(time.Hour))
				c.SetTimer(int64(soon))
			case 'l':
				c.SetTimer(1)
				c.SetTimer(int64(later))
			case 'c':
				c.SetTimer(int64(soon))
				c.SetTimer(0)
			}
			c.Write(in)
			return len(in)
		},
		expired: func(c conn.Conn) { fired <- time.Duration(c.Now() - set) },
	}))
	c := v.dial()
	for _, step := range []struct {
		command string
		least   time.Duration
	}{{"s", soon}, {"l", later}, {"s", soon}} {
		send(t, c, []byte(step.command))
		want(t, c, step.command)
		if after := await(t, fired, "Expired"); after < step.least {
			t.Errorf("the timer %q came after %v; it was set to %v", step.command, after, step.least)
		}
	}
	send(t, c, []byte("c"))
	want(t, c, "c")
	none(t, fired, 3*soon, "a timer that was cleared")
	send(t, c, []byte("l")) // pending when the connection ends: it must not fire any more
	want(t, c, "l")
	_ = c.Close()
	none(t, fired, 2*later, "the timer of a closed connection")
	v.stop()
}

func timerRepeats(t *testing.T, s Suite) {
	left := 5
	v := start(t, s, nil, same(script{
		opened: func(c conn.Conn) { c.SetTimer(int64(time.Millisecond)) },
		expired: func(c conn.Conn) {
			c.Write([]byte("t"))
			if left--; left == 0 {
				c.Drain()
				return
			}
			c.SetTimer(int64(5 * time.Millisecond))
		},
	}))
	c := v.dial()
	want(t, c, "ttttt")
	wantEnd(t, c)
	_ = c.Close()
	v.stop()
}

func postToIdle(t *testing.T, s Suite) {
	refs := make(chan conn.Ref, 1)
	v := start(t, s, nil, same(script{opened: func(c conn.Conn) {
		c.SetIdle(true)
		refs <- c.Ref()
	}}))
	c := v.dial()
	ref := await(t, refs, "Opened")
	for i := range 3 {
		posted := ref.Post(func(c conn.Conn) {
			if c.ID() != ref.ID {
				t.Errorf("posted to %x, run on %x", ref.ID, c.ID())
			}
			c.Write([]byte(strconv.Itoa(i)))
		})
		if !posted {
			t.Error("Post to an open connection reports false")
		}
		want(t, c, strconv.Itoa(i))
	}
	_ = c.Close()
	v.stop()
}

func postsFromMany(t *testing.T, s Suite) {
	const senders, each = 8, 200
	refs := make(chan conn.Ref, 1)
	v := start(t, s, nil, same(script{opened: func(c conn.Conn) { refs <- c.Ref() }}))
	c := v.dial()
	ref := await(t, refs, "Opened")
	var last [senders]int // on the connection's thread of control: the race detector watches
	total := 0
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := 1; i <= each; i++ {
				ref.Post(func(conn.Conn) {
					if last[sender] != i-1 {
						t.Errorf("post %d of sender %d follows %d", i, sender, last[sender])
					}
					last[sender] = i
					total++
				})
			}
		})
	}
	sending.Wait()
	totals := make(chan int, 1)
	ref.Post(func(conn.Conn) { totals <- total })
	if n := await(t, totals, "the last post"); n != senders*each {
		t.Errorf("%d posts were run of %d", n, senders*each)
	}
	_ = c.Close()
	v.stop()
}

func postToClosed(t *testing.T, s Suite) {
	refs := make(chan conn.Ref, 1)
	ends := make(chan error, 1)
	v := start(t, s, nil, same(script{
		opened: func(c conn.Conn) { refs <- c.Ref() },
		closed: func(_ conn.Conn, why error) { ends <- why },
	}))
	c := v.dial()
	ref := await(t, refs, "Opened")
	_ = c.Close()
	if why := await(t, ends, "Closed"); why != nil {
		t.Errorf("the connection ended with %v", why)
	}
	var ran atomic.Bool
	never := func(conn.Conn) { ran.Store(true) }
	ref.Post(never)
	other := v.dial() // it may well sit in the place of the first
	second := await(t, refs, "Opened")
	if second.ID == ref.ID {
		t.Error("an ID is used again")
	}
	ref.Post(never)
	done := make(chan bool, 1)
	second.Post(func(conn.Conn) { done <- true })
	await(t, done, "the post to the second connection")
	_ = other.Close()
	v.stop()
	if ref.Post(never) {
		t.Error("Post reports true after the site has ended")
	}
	if (conn.Ref{}).Post(never) {
		t.Error("Post of the zero Ref reports true")
	}
	if ran.Load() {
		t.Error("a function was run on a connection that was closed")
	}
}

func attach(t *testing.T, s Suite) {
	v := start(t, s, nil, same(script{received: func(c conn.Conn, in []byte) int {
		n, _ := c.Attached().(int)
		n += len(in)
		c.Attach(n)
		c.Write([]byte(strconv.Itoa(n) + ";"))
		return len(in)
	}}))
	first := v.dial()
	send(t, first, []byte("abc"))
	want(t, first, "3;")
	if s.AtOnce == 1 {
		_ = first.Close()
	}
	second := v.dial()
	send(t, second, []byte("a"))
	want(t, second, "1;")
	send(t, second, []byte("a"))
	want(t, second, "2;")
	if s.AtOnce > 1 {
		send(t, first, []byte("ab"))
		want(t, first, "5;")
	}
	_ = second.Close()
	_ = first.Close()
	v.stop()
}
