package moving

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// listenEcho is a server that sends back what comes, behind an upgrade if it is for those.
func listenEcho(t *testing.T, upgrades bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				echo(c, upgrades)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func echo(c net.Conn, upgrades bool) {
	in := bufio.NewReader(c)
	if upgrades {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if err != nil {
			return
		}
	}
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{in})
}

// deflater compresses messages that refer to those before.
type deflater struct {
	out bytes.Buffer
	w   *flate.Writer
}

func newDeflater() *deflater {
	d := new(deflater)
	d.w, _ = flate.NewWriter(&d.out, flate.BestSpeed) // the level is a valid one
	return d
}

func (d *deflater) message(text string) []byte {
	d.out.Reset()
	_, _ = io.WriteString(d.w, text) // to memory
	_ = d.w.Flush()
	return bytes.TrimSuffix(d.out.Bytes(), []byte{0, 0, 0xff, 0xff})
}
