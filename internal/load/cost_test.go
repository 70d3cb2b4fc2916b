package load

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestNothingIsAllocatedForARequest compares a long run with a short one. The server is in the same process, and
// allocates nothing for a request either.
func TestNothingIsAllocatedForARequest(t *testing.T) {
	for _, c := range []struct {
		scheme string
		size   int
		answer string
	}{{"tcp", 64, ""}, {"http", len("GET / HTTP/1.1\r\nHost: 127.0.0.1:12345\r\n\r\n"), hello}} {
		server := serve(t, "tcp", func(f *fake, c2 net.Conn) error {
			in, out := make([]byte, c.size), []byte(c.answer)
			if c.scheme == "http" {
				port := len(f.listener.Addr().String())
				in = in[:len("GET / HTTP/1.1\r\nHost: \r\n\r\n")+port]
			}
			for {
				if _, err := io.ReadFull(c2, in); err != nil {
					return err
				}
				if c.answer == "" {
					out = in
				}
				if _, err := c2.Write(out); err != nil {
					return err
				}
			}
		})
		p := server.plan(t, c.scheme)
		p.Duration, p.Connections = time.Minute, 4
		count := func(requests uint64) uint64 {
			var before, after runtime.MemStats
			p.Requests = requests
			runtime.ReadMemStats(&before)
			if r := perform(t, p); r.Requests.Good != requests {
				t.Fatalf("%s", r)
			}
			runtime.ReadMemStats(&after)
			return after.Mallocs - before.Mallocs
		}
		// What happens now and then, whatever is asked, only adds: it is not in each of many tries.
		const tries = 10
		for try := 1; ; try++ {
			short, long := count(1000), count(21_000)
			each := (float64(long) - float64(short)) / 20_000
			if each <= 0.05 {
				break
			}
			if try == tries {
				t.Errorf("%s: %.2f allocations for each request (%d in a short run, %d in a long one)", c.scheme, each, short,
					long)
				break
			}
		}
	}
}
