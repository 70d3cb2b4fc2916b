package lasting

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// upstreams are the servers behind the server. They are in this process, out of reach of what is done to the server.
type upstreams struct {
	web    *httptest.Server // answers, and sends back the messages of WebSockets
	tunnel net.Listener     // sends back what it reads
	udp    net.PacketConn   // tells each client its address and what it said
	group  sync.WaitGroup
}

func startUpstreams(t testing.TB) *upstreams {
	t.Helper()
	u := new(upstreams)
	var err error
	if u.tunnel, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if u.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.web = httptest.NewServer(http.HandlerFunc(answer))
	u.group.Go(u.tunnels)
	u.group.Go(u.datagrams)
	t.Cleanup(func() {
		_, _ = u.tunnel.Close(), u.udp.Close()
		u.web.CloseClientConnections()
		u.web.Close()
		u.group.Wait()
	})
	return u
}

// text is what the upstream of HTTP answers.
const text = "the upstream's answer\n"

func answer(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.WriteString(w, text)
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for ctx := context.Background(); ; {
		kind, p, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, p) != nil {
			return
		}
	}
}

func (u *upstreams) tunnels() {
	for {
		c, err := u.tunnel.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			_ = c.Close()
		}()
	}
}

func (u *upstreams) datagrams() {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := u.udp.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = u.udp.WriteTo(fmt.Appendf(nil, "%v|%s", from, buffer[:n]), from)
	}
}
