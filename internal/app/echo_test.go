package app

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/meter"
)

// closer is the half of a connection that can be closed by itself.
type closer interface{ CloseWrite() error }

func TestEchoStream(t *testing.T) {
	for name, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:@myriad-echo-test"} {
		t.Run(name, func(t *testing.T) {
			r := start(t, "listeners=[{address: '"+address+"', protocol: echo}]")
			target := strings.TrimPrefix(strings.TrimPrefix(r.URLs()[0], "tcp://"), "unix:")
			c := dial(t, name, target)
			seed := rand.Uint64()
			source := rand.New(rand.NewPCG(seed, 0))
			want := make([]byte, 3<<20) // more than the sockets hold: the echo has to stop reading
			for i := range want {
				want[i] = byte(source.Uint32())
			}
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(want)
				if half, ok := c.(closer); ok && err == nil {
					err = half.CloseWrite()
				}
				sent <- err
			}()
			got, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes came back other than the %d that were sent (seed %d)", len(got), len(want), seed)
			}
		})
	}
}

func TestDiscardStream(t *testing.T) {
	r := start(t, "listeners=[{address: '127.0.0.1:0', protocol: discard}]")
	c := dial(t, "tcp", strings.TrimPrefix(r.URLs()[0], "tcp://"))
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("%d bytes came back, and %v", n, err)
	}
}

func TestDatagrams(t *testing.T) {
	r := start(t, `listeners=[{address: "udp://127.0.0.1:0", protocol: echo},
		{address: "udp://127.0.0.1:0", protocol: discard}]`)
	echo := dial(t, "udp", strings.TrimPrefix(r.URLs()[0], "udp://"))
	away := dial(t, "udp", strings.TrimPrefix(r.URLs()[1], "udp://"))
	if _, err := away.Write([]byte("gone")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two", strings.Repeat("x", 1400)} {
		if _, err := echo.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2000)
		n, err := echo.Read(got)
		if err != nil || string(got[:n]) != want {
			t.Errorf("%q came back, and %v", got[:n], err)
		}
	}
}

// TestLongDatagrams sends datagrams of more than a block to every driver and to every model without loops: each comes
// back whole or not at all.
func TestLongDatagrams(t *testing.T) {
	const block, longest, most = 4096, 4096 - 176, 65_507
	known := Known()
	engines := make(map[string]int)
	for _, name := range known.Drivers {
		engines["engine.driver="+name] = longest
	}
	for _, name := range known.Loopless {
		engines["engine.model="+name] = most
	}
	for engine, longest := range engines {
		t.Run(engine, func(t *testing.T) {
			r := start(t, `listeners=[{address: "udp://127.0.0.1:0", protocol: echo, send_buffer: 1MiB, receive_buffer: 1MiB}]`,
				"engine.block=4KiB", "limits.head=4KiB", "limits.target=4KiB", engine)
			c := dial(t, "udp", strings.TrimPrefix(r.URLs()[0], "udp://"))
			got, dropped := make([]byte, most+1), int64(0)
			for _, size := range []int{longest, longest + 1, block - 84, block, block + 1, 2 * block, most, 1} {
				size = min(size, most)
				want := bytes.Repeat([]byte("y"), size)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				if size > longest {
					dropped++
					continue // the next one that comes back is not this
				}
				if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], want) {
					t.Errorf("%d bytes came back of %d, and %v", n, size, err)
				}
			}
			if n := r.counters.Total()[meter.Truncated]; n > dropped || n < dropped && longest == most {
				t.Errorf("%d dropped, not %d", n, dropped)
			}
		})
	}
}

func TestSilentConnectionsEnd(t *testing.T) {
	for _, protocol := range []string{"echo", "discard"} {
		r := start(t, "listeners=[{address: '127.0.0.1:0', protocol: "+protocol+"}]", "timeouts.idle=50ms")
		c := dial(t, "tcp", strings.TrimPrefix(r.URLs()[0], "tcp://"))
		if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
			t.Errorf("%s: %d bytes came, and %v", protocol, n, err)
		}
	}
}

// TestEchoToNobody sends to an echo whose answers nobody reads: it is cut off by the write timeout.
func TestEchoToNobody(t *testing.T) {
	r := start(t, "listeners=[{address: '127.0.0.1:0', protocol: echo, send_buffer: 4KiB}]", "timeouts.write=100ms",
		"timeouts.idle=1h")
	c := dial(t, "tcp", strings.TrimPrefix(r.URLs()[0], "tcp://"))
	block := make([]byte, 64<<10)
	for {
		if _, err := c.Write(block); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Error("the connection is still open")
			}
			return
		}
	}
}
