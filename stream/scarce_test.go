package stream

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/driver"
)

// flooding sends without end to whoever says "b", and one byte to anybody else.
func flooding(t testing.TB, network string) (address string) {
	return server(t, network, func(c net.Conn) {
		var word [1]byte
		if _, err := io.ReadFull(c, word[:]); err != nil || word[0] != 'b' {
			_, _ = c.Write(word[:])
			return
		}
		piece := make([]byte, 64<<10)
		for {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
}

// TestScarceBlocks has clients that read nothing hold all the blocks that they can get. Others beside them are served,
// one that comes and one that reads, whether directions are copied or left to the kernel, which has not a pipe for all;
// and once those that read nothing have gone, nothing is held any more.
func TestScarceBlocks(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		for _, pipes := range []int{-1, 0} {
			r, _ := proxyAt(t, rigOptions{factory: f, blocks: 64, sendBuffer: 32 << 10}, TCPOptions{PipeBytes: pipes},
				flooding(t, "tcp"))
			reader := r.dial()
			send(t, reader, "b")
			deaf := make([]net.Conn, 100)
			for i := range deaf {
				deaf[i] = r.dial()
				send(t, deaf[i], "b")
			}
			for range 20 {
				c := r.dial()
				send(t, c, "s")
				want(t, c, "s")
				wantEnd(t, c)
				c.Close()
				if _, err := io.CopyN(io.Discard, reader, 100_000); err != nil {
					t.Fatalf("who reads gets %v", err)
				}
			}
			for _, c := range append(deaf, reader) {
				c.Close()
			}
			eventually(t, "all blocks come back", func() (free bool) {
				r.do(func() { free = r.loops[0].Open() == 0 })
				return free
			})
		}
	})
}

// TestSlowOnesStay has many clients read slowly, far more than there are blocks: none of them is ended.
func TestSlowOnesStay(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads slowly for three seconds; run it without -short")
	}
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		r, _ := proxyAt(t, rigOptions{factory: f, blocks: 32, sendBuffer: 32 << 10}, TCPOptions{}, flooding(t, "tcp"))
		var group sync.WaitGroup
		for range 60 {
			c := r.dial()
			send(t, c, "b")
			group.Go(func() {
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for range 30 {
					<-tick.C
					if _, err := io.CopyN(io.Discard, c, 2000); err != nil {
						t.Errorf("who reads slowly gets %v", err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}
