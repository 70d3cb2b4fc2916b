package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
)

// uploader sends in two parts, the second when the server has answered the first and gone.
type uploader struct {
	conn.Defaults
	gone <-chan struct{}
	got  []byte
	sent bool
	end  chan<- string
}

func (u *uploader) Opened(c conn.Conn) { c.Write([]byte("request")) }

func (u *uploader) Flushed(c conn.Conn) {
	if !u.sent {
		u.sent = true
		<-u.gone
		c.Write([]byte("more"))
	}
}

func (u *uploader) Received(_ conn.Conn, in []byte) int {
	u.got = append(u.got, in...)
	return len(in)
}

func (u *uploader) Closed(_ conn.Conn, why error) {
	if why == nil {
		u.got = append(u.got, " in order"...)
	}
	u.end <- string(u.got)
}

// TestRealEarlyAnswer has a server answer before it has read everything, close, and reset what still comes: the answer
// is read although sending fails first, over every driver.
func TestRealEarlyAnswer(t *testing.T) {
	overDrivers(t, func(t *testing.T, f driver.Factory) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		gone, end := make(chan struct{}), make(chan string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, "answer")
			c.Close()
			close(gone)
		}()
		dialers := make(chan conn.Dialer, 1)
		build(t, f, 1, func(_ *proxy.Options, _ *upstream.Options, s *web.Server) {
			s.Started = func(d conn.Dialer) { dialers <- d }
		}, l.Addr().String())
		d := <-dialers
		to := &conn.Target{Address: netip.MustParseAddrPort(l.Addr().String())}
		d.Do(func() { d.Dial(to, &uploader{gone: gone, end: end}, nil) })
		if got := <-end; got != "answer" {
			t.Errorf("%q came", got)
		}
	})
}
