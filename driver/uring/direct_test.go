package uring

import (
	"bytes"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// crowd is an accepting direct driver with its clients; near and far are the two ends of each connection.
type crowd struct {
	*rig
	accept driver.Token
	near   map[int]bool
	far    []int
}

func newCrowd(t *testing.T, shrink func(*tuning)) *crowd {
	r := newRig(t, driver.Options{Direct: true}, 2048, func(t *tuning) { tinyTables(t); shrink(t) })
	c := &crowd{rig: r, near: map[int]bool{}}
	c.accept = r.start(driver.Op{Code: driver.Accept, FD: r.listen(), Many: true})
	t.Cleanup(func() {
		for _, fd := range c.far {
			_ = sys.Close(fd)
		}
	})
	return c
}

// collect takes a turn and notes who was accepted.
func (c *crowd) collect(limit time.Duration) {
	c.Helper()
	c.turn(limit)
	for _, done := range c.came {
		if done.Code != driver.Accept {
			continue
		}
		if done.Err != nil || !isDirect(done.Result) {
			c.Fatalf("accept: %+v", done)
		}
		if c.near[done.Result] {
			c.Fatalf("%#x is accepted while it is open", done.Result)
		}
		c.near[done.Result] = true
	}
}

// grow dials n clients and waits until so many connections are open.
func (c *crowd) grow(n, open int) {
	c.Helper()
	for range n {
		c.far = append(c.far, c.dial())
	}
	for begun := time.Now(); len(c.near) < open; c.collect(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			c.Fatalf("%d of %d connections were accepted, %d tables", len(c.near), open, len(c.rings))
		}
	}
}

// close closes n connections, whichever come first.
func (c *crowd) close(n int) {
	c.Helper()
	pending := map[driver.Token]bool{}
	for fd := range c.near {
		if n--; n < 0 {
			break
		}
		pending[c.start(driver.Op{Code: driver.Close, FD: fd, Lazy: n%2 == 0})] = true
		delete(c.near, fd)
	}
	for begun := time.Now(); len(pending) > 0; {
		if time.Since(begun) > 20*time.Second {
			c.Fatalf("%d descriptors do not close", len(pending))
		}
		c.collect(time.Millisecond)
		for _, done := range c.came {
			if pending[done.Token] && done.Err != nil {
				c.Fatalf("close: %v", done.Err)
			}
			delete(pending, done.Token)
		}
	}
}

// reap closes the clients whose connection is gone, and fails for any that was lost otherwise: so many may go.
func (c *crowd) reap(gone int) {
	c.Helper()
	left := c.far[:0]
	for _, fd := range c.far {
		var one [1]byte
		if _, err := sys.Recv(fd, one[:], 0); err == syscall.EAGAIN {
			left = append(left, fd)
			continue
		}
		_ = sys.Close(fd)
		gone--
	}
	c.far = left
	if gone != 0 {
		c.Fatalf("%d connections too few have ended (negative: were lost)", gone)
	}
}

// echo sends through every connection, both ways.
func (c *crowd) echo() {
	c.Helper()
	recv := map[driver.Token]bool{}
	for fd := range c.near {
		recv[c.start(driver.Op{Code: driver.Recv, FD: fd, User: uint64(fd)})] = true
	}
	for _, fd := range c.far {
		if _, err := sys.Send(fd, []byte("x"), 0); err != nil {
			c.Fatal(err)
		}
	}
	answered := 0
	c.until("everybody is heard and answered", func() bool {
		for _, done := range c.came {
			if done.Err != nil {
				c.Fatalf("%+v", done)
			}
			if recv[done.Token] {
				delete(recv, done.Token)
				c.start(driver.Op{Code: driver.Send, FD: int(done.User), Buf: []byte("y"), Lazy: true})
			}
		}
		c.came = c.came[:0]
		if len(recv) > 0 {
			return false
		}
		for _, fd := range c.far {
			answered += c.drain(fd)
		}
		return answered == len(c.far)
	})
}

func TestTablesLoseNothing(t *testing.T) {
	c := newCrowd(t, func(*tuning) {})
	c.grow(500, 500)
	if len(c.rings) != 8 {
		t.Errorf("500 connections took %d tables of 64", len(c.rings))
	}
	c.echo()
	for i := range 10 {
		n := 50 + i*67%200
		c.close(n)
		c.reap(n)
		c.grow(n, 500)
		c.reap(0)
	}
	if len(c.rings) > 9 {
		t.Errorf("500 connections that came and went took %d tables of 64", len(c.rings))
	}
	c.echo()
	c.close(500)
	c.reap(500)
}

func TestTablesFull(t *testing.T) {
	c := newCrowd(t, func(t *tuning) { t.ringsMost = 2 })
	c.grow(150, 128)
	for range 5 {
		c.collect(time.Millisecond)
	}
	if len(c.near) != 128 {
		t.Fatalf("%d connections in 128 slots", len(c.near))
	}
	c.reap(0) // those without a slot wait, and do not end
	c.close(10)
	c.reap(10)
	c.grow(0, 128)
	c.close(30)
	c.grow(0, 110)
	c.reap(30)
	c.echo()
	c.grow(60, 128) // more wait
	c.must(c.Cancel(c.accept))
	if done := c.finish(c.accept); done.Err != driver.ErrCanceled {
		t.Fatalf("a paused accept that is cancelled: %+v", done)
	}
}

func TestDescriptorOfDirect(t *testing.T) {
	c := newCrowd(t, func(*tuning) {})
	c.grow(1, 1)
	for fd := range c.near {
		ordinary, done, err := c.Descriptor(fd)
		c.must(err)
		local, err := sys.LocalAddress(ordinary)
		c.must(err)
		if want := sys.DecodeAddress(c.addr); local != want {
			t.Errorf("the local address is %v, want %v", local, want)
		}
		done()
		if _, err := sys.LocalAddress(ordinary); err != syscall.EBADF {
			t.Errorf("done leaves the descriptor open: %v", err)
		}
	}
	c.echo()
}

// TestDescriptorsOfDirect lends many at once, ordinary ones among them, which stay open.
func TestDescriptorsOfDirect(t *testing.T) {
	c := newCrowd(t, func(*tuning) {})
	c.grow(9, 9) // the outcomes have to fit into the queue
	var fds []int
	for fd := range c.near {
		fds = append(fds, fd)
	}
	const among = 5
	fds[among] = c.far[0] // the other side of one
	ordinary := make([]int, len(fds))
	done := c.Descriptors(fds, ordinary)
	peers := map[netip.AddrPort]bool{}
	for i, fd := range ordinary {
		if i == among {
			if fd != fds[i] {
				t.Errorf("an ordinary descriptor is lent as %d, and is %d", fd, fds[i])
			}
			continue
		}
		local, err := sys.LocalAddress(fd)
		c.must(err)
		if want := sys.DecodeAddress(c.addr); local != want {
			t.Errorf("the local address of the %d. is %v, want %v", i, local, want)
		}
		peer, err := sys.RemoteAddress(fd)
		c.must(err)
		peers[peer] = true
	}
	if len(peers) != len(fds)-1 {
		t.Errorf("%d descriptors lead to %d peers", len(fds)-1, len(peers))
	}
	done()
	for i, fd := range ordinary {
		if _, err := sys.LocalAddress(fd); (err == syscall.EBADF) == (i == among) {
			t.Errorf("the %d. descriptor afterwards: %v", i, err)
		}
	}
	c.echo()
}

// TestFileWithoutDescriptors sends a file when no ordinary descriptor can be made.
func TestFileWithoutDescriptors(t *testing.T) {
	c := newCrowd(t, func(*tuning) {})
	c.grow(1, 1)
	content := bytes.Repeat([]byte("0123456789abcdef"), 40<<10/16*5)
	name := t.TempDir() + "/file"
	c.must(os.WriteFile(name, content, 0o600))
	file, err := os.Open(name)
	c.must(err)
	defer file.Close()
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	c.must(err)
	for _, exhausted := range []bool{false, true} {
		if exhausted {
			c.must(sys.SetLimit(sys.LimitDescriptors, 3, hard))
		}
		for fd := range c.near {
			tok := c.start(driver.Op{
				Code: driver.SendFile, FD: fd, Buf: []byte("head"), From: int(file.Fd()), Off: 5, Len: len(content) - 5,
			})
			var got []byte
			room := make([]byte, 64<<10)
			c.until("the file has arrived", func() bool {
				if n, err := sys.Recv(c.far[0], room, 0); err == nil {
					got = append(got, room[:n]...)
				}
				return len(got) == len(content)-1
			})
			c.must(sys.SetLimit(sys.LimitDescriptors, soft, hard))
			if done := c.finish(tok); done.Err != nil || c.total[tok] != len(got) {
				t.Fatalf("exhausted %v: %d bytes, then %+v", exhausted, c.total[tok], done)
			}
			if !bytes.Equal(got, append([]byte("head"), content[5:]...)) {
				t.Fatalf("exhausted %v: other bytes arrived", exhausted)
			}
		}
	}
}
