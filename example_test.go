package myriad_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
)

// An HTTP server of a few lines.
func ExampleServer() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := &myriad.Server{
		Listen: []string{"127.0.0.1:18081"},
		HTTP: web.HandlerFunc(func(x *web.Exchange) {
			x.Status(200)
			x.Add("Content-Type", "text/plain; charset=utf-8")
			x.Reply(fmt.Appendf(nil, "You asked for %s", x.Path()))
		}),
		Ready: func() { close(ready) },
	}
	go func() { ended <- s.Serve(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		fmt.Println(err)
		return
	}
	answer, err := http.Get("http://127.0.0.1:18081/hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	fmt.Println(answer.Status, string(text))
	http.DefaultClient.CloseIdleConnections()
	stop()
	fmt.Println(<-ended)
	// Output:
	// 200 OK You asked for /hello
	// <nil>
}

// shout answers every byte in upper case.
type shout struct{ conn.Defaults }

func (shout) Received(c conn.Conn, in []byte) int {
	for _, b := range in {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		c.Write([]byte{b})
	}
	return len(in)
}

// A protocol of your own, on a Unix socket, with a goroutine for each connection.
func ExampleServer_bytes() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := &myriad.Server{
		Listen: []string{"unix:@myriad-example"},
		Bytes:  func() conn.Handler { return shout{} },
		Model:  "goroutine",
		Ready:  func() { close(ready) },
	}
	go func() { ended <- s.Serve(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		fmt.Println(err)
		return
	}
	c, err := net.Dial("unix", "@myriad-example")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = c.Write([]byte("quietly"))
	_ = c.(*net.UnixConn).CloseWrite()
	text, _ := io.ReadAll(c)
	_ = c.Close()
	fmt.Println(string(text))
	stop()
	fmt.Println(<-ended)
	// Output:
	// QUIETLY
	// <nil>
}
