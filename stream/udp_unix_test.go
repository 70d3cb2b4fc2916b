package stream

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/upstream"
)

// unixServer sends every datagram at a Unix socket back with a mark, until it is stopped.
func unixServer(t testing.TB, at, mark string) (stop func()) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFromUnix(buffer)
			if err != nil {
				return
			}
			c.WriteToUnix(append(buffer[:n], mark...), from)
		}
	})
	stop = sync.OnceFunc(func() {
		c.Close()
		ended.Wait()
		if at[0] != '@' {
			os.Remove(at)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestUDPToUnix passes datagrams on to Unix sockets, with a name in a folder and without, and to the one that is there.
func TestUDPToUnix(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		folder := t.TempDir()
		first, second := filepath.Join(folder, "first"), "@myriad-test-"+filepath.Base(folder)+f.Name
		told := make(records, 64)
		stop := unixServer(t, first, " 1")
		r, p := datagramProxy(t, f, UDPOptions{Records: told}, "unix:"+first, "unix:"+second)
		a := r.dial()
		ask(t, a, "a", "a 1")
		b := r.dial() // its turn is the second's, where nobody is yet
		ask(t, b, "b", "b 1")
		unixServer(t, second, " 2")
		stop()
		ask(t, a, "a", "a 2")
		ask(t, b, "b", "b 2")
		if n := p.Counts(); n[Undelivered] < 2 || n[Open] != 2 {
			t.Errorf("counted %v", n)
		}
		large := string(make([]byte, 8000))
		ask(t, a, large, large+" 2")
	})
}

// TestUDPToUnixFull drops what a server does not take that sleeps, and loses nothing for good.
func TestUDPToUnixFull(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		at := filepath.Join(t.TempDir(), "socket")
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r, p := datagramProxy(t, f, UDPOptions{Group: group(t, upstream.Options{}, "unix:"+at)})
		client := r.dial()
		eventually(t, "the queues are full", func() bool {
			for range 64 {
				send(t, client, "many")
			}
			return p.Counts()[Lost] > 0
		})
		buffer := make([]byte, 16)
		last := false
		for deadline := time.Now().Add(patience); !last && time.Now().Before(deadline); {
			send(t, client, "last")
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			for !last {
				n, err := c.Read(buffer)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				last = string(buffer[:n]) == "last"
			}
		}
		if !last {
			t.Error("nothing arrives any more")
		}
		if n := p.Counts(); n[Sessions] != 1 {
			t.Errorf("counted %v", n)
		}
	})
}
