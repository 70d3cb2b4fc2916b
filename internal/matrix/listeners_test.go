package matrix

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// listeners is what can be listened on besides TCP, and spoken besides HTTP.
var listeners = []behaviour{
	{name: "unix socket", check: unixSocket},
	{name: "abstract unix socket", check: abstractSocket},
	{name: "TCP over IPv6", check: overIPv6},
	{name: "several listeners", check: severalListeners},
	{name: "TCP echo", check: tcpEcho},
	{name: "TCP discard", check: tcpDiscard},
	{name: "UDP echo", check: udpEcho},
	{name: "UDP discard", check: udpDiscard},
}

// asks wants a whole conversation to work on a listener.
func (v *server) asks(listener int) {
	v.t.Helper()
	c := v.dialTo(listener)
	defer c.Close()
	c.get("/hello").want(200).wantBody(hello)
	c.get("/large.bin").want(200).wantBody(content(3, largeBytes))
	c.send(request("GET", "/hello") + request("GET", "/medium.bin", "Connection: close"))
	c.answer("GET").want(200).wantBody(hello)
	c.answer("GET").want(200).wantBody(content(2, mediumSize))
	c.wantEnd()
}

func unixSocket(t *testing.T, s *suite) {
	path := filepath.Join(t.TempDir(), "s")
	v := s.start(t, "listeners=[{address: 'unix:"+path+"', mode: 0600}]")
	for range 3 {
		v.asks(0)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	v.stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

func abstractSocket(t *testing.T, s *suite) {
	s.start(t, fmt.Sprintf("listeners=[{address: 'unix:@myriad-matrix-%d'}]", os.Getpid())).asks(0)
}

func overIPv6(t *testing.T, s *suite) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	_ = probe.Close()
	s.start(t, "listeners=[{address: '[::1]:0'}]").asks(0)
}

func severalListeners(t *testing.T, s *suite) {
	path := filepath.Join(t.TempDir(), "s")
	v := s.start(t, "listeners=[{address: '127.0.0.1:0'}, {address: '127.0.0.2:0'}, {address: 'unix:"+path+"'}]")
	for i := range 3 {
		v.asks(i)
	}
}

// tcpEcho sends more than is queued for anybody, and reads it at the same time.
func tcpEcho(t *testing.T, s *suite) {
	c := s.start(t, "listeners=[{address: '127.0.0.1:0', protocol: echo}]").dial()
	body := content(8, 2<<20)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(body)
		sent <- err
	}()
	got := make([]byte, len(body))
	if n, err := io.ReadFull(c.r, got); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes came back: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	c.send("end")
	c.halfClose()
	if rest, err := io.ReadAll(c.r); err != nil || string(rest) != "end" {
		t.Errorf("%q and %v behind the end", rest, err)
	}
}

func tcpDiscard(t *testing.T, s *suite) {
	c := s.start(t, "listeners=[{address: '127.0.0.1:0', protocol: discard}]").dial()
	c.send(string(content(8, 2<<20)))
	c.halfClose()
	c.wantEnd()
}

// datagrams is a socket that knows its peer.
func (v *server) datagrams(listener int) net.Conn {
	v.t.Helper()
	network, address := v.address(listener)
	c, err := net.Dial(network, address)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = c.Close() })
	return c
}

// udpEcho sends again what may have been dropped.
func udpEcho(t *testing.T, s *suite) {
	v := s.start(t, "listeners=[{address: '127.0.0.1:0'}, {address: 'udp://127.0.0.1:0', protocol: echo}]")
	c := v.datagrams(1)
	for i, n := range []int{1, 0, 512, 1472, 8000} {
		body := content(byte(20+i), n)
		echoes(t, c, body)
	}
	v.dial().get("/hello").want(200).wantBody(hello)
}

func echoes(t *testing.T, c net.Conn, body []byte) {
	t.Helper()
	got := make([]byte, 64<<10)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := c.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(got)
		if os.IsTimeout(err) {
			continue
		}
		if err != nil || !bytes.Equal(got[:n], body) {
			t.Fatalf("%d bytes come back as %d: %v", len(body), n, err)
		}
		return
	}
	t.Fatalf("a datagram of %d bytes does not come back", len(body))
}

func udpDiscard(t *testing.T, s *suite) {
	v := s.start(t, "listeners=[{address: '127.0.0.1:0'}, {address: 'udp://127.0.0.1:0', protocol: discard}]")
	c := v.datagrams(1)
	for range 10 {
		if _, err := c.Write([]byte("into the dark")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 100)); !os.IsTimeout(err) {
		t.Errorf("%d bytes and %v came back", n, err)
	}
	v.dial().get("/hello").want(200).wantBody(hello)
}
