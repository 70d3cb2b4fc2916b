package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func startProxy(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "proxy NAME ARGUMENT...")
	start(ts, args[0], append([]string{"proxy"}, args[1:]...))
}

// application is a server of the Go library. Its answer holds the request as it came, line by line; when it is asked
// for an upgrade, it says back what it is told.
func application(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "application NAME [stop]")
	w := worldOf(ts)
	if len(args) > 1 {
		w.applications[args[0]].Close()
		return
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if protocol := r.Header.Get("Upgrade"); protocol != "" {
			echoTunnel(w, protocol)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the proxy gave up: nobody reads an answer
		}
		w.Header().Set("X-Application", args[0])
		fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		_ = r.Header.Write(w)
		fmt.Fprintf(w, "\n%s\n", body)
	}))
	w.applications[args[0]] = server
	ts.Setenv(args[0], server.Listener.Addr().String())
}

func echoTunnel(w http.ResponseWriter, protocol string) {
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // the server speaks HTTP/1.1 alone, and nothing was written
	}
	defer func() { _ = c.Close() }()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	_, _ = io.Copy(c, buffered) // it ends when the tunnel does, one way or another
}

func openTunnel(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 3, "tunnel NAME URL TEXT")
	c, path := dial(ts, args[1])
	worldOf(ts).connections[args[0]] = c
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: script\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", path)
	ts.Check(err)
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, nil)
	ts.Check(err)
	if response.StatusCode != http.StatusSwitchingProtocols {
		ts.Fatalf("the answer is %s", response.Status)
	}
	_, err = io.WriteString(c, args[2])
	ts.Check(err)
	got := make([]byte, len(args[2]))
	_, err = io.ReadFull(reader, got)
	ts.Check(err)
	if string(got) != args[2] {
		ts.Fatalf("%q came back", got)
	}
}

// cutOff waits for the end of a tunnel.
func cutOff(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "cutoff NAME")
	n, err := worldOf(ts).connections[args[0]].Read(make([]byte, 1))
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		ts.Fatalf("the tunnel is still there: %d, %v", n, err)
	}
}

func postText(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 3, "post URL TEXT FILE")
	c, path := dial(ts, args[0])
	defer func() { _ = c.Close() }()
	_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: script\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		path, len(args[1]), args[1])
	ts.Check(err)
	writeAnswer(ts, c, args[2])
}

func speak(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 2, "speak ADDRESS TEXT")
	c := connect(ts, args[0])
	defer func() { _ = c.Close() }()
	_, err := io.WriteString(c, args[1])
	ts.Check(err)
	ts.Check(c.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(c)
	ts.Check(err)
	if string(got) != args[1] {
		ts.Fatalf("%q came back", got)
	}
}

func hangsUp(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "hangsup ADDRESS")
	c, err := tryConnect(ts, args[0])
	if errors.Is(err, syscall.ECONNRESET) { // before the dial has noticed that it was let in
		return
	}
	ts.Check(err)
	defer func() { _ = c.Close() }()
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		ts.Fatalf("it is still there: %d, %v", n, err)
	}
}

func connect(ts *testscript.TestScript, address string) net.Conn {
	c, err := tryConnect(ts, address)
	ts.Check(err)
	return c
}

func tryConnect(ts *testscript.TestScript, address string) (net.Conn, error) {
	network := "tcp"
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", name
		if name[0] != '@' {
			address = ts.MkAbs(name)
		}
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(patience))
}

func sameUpstream(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, args, 1, "sameupstream FILE")
	lines := upstreamOf.FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
	for _, line := range lines {
		if line[1] != lines[0][1] {
			ts.Fatalf("%s and %s", lines[0][1], line[1])
		}
	}
	if len(lines) < 2 {
		ts.Fatalf("%d lines have an upstream", len(lines))
	}
}

var upstreamOf = regexp.MustCompile(`"upstream":"([^"]+)"`)
