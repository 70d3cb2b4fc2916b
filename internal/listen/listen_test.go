package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// open opens a socket for the length of the test.
func open(t *testing.T, s Spec) *Socket {
	t.Helper()
	socket, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func parse(t *testing.T, address string) Spec {
	t.Helper()
	s, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accepted connects to a listener and returns the accepted descriptor.
func accepted(t *testing.T, socket *Socket) int {
	t.Helper()
	client, err := net.Dial("tcp", socket.Spec.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if _, err := client.Write([]byte("x")); err != nil { // for a deferred accept
		t.Fatal(err)
	}
	if _, err := sys.AwaitAny([]sys.Await{{FD: int32(socket.FD), Want: sys.Readable}}, int64(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	fd, err := sys.Accept(socket.FD)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sys.Close(fd) })
	return fd
}

// TestInheritance shows that accepted connections have the options of their listener, which is why they are set there.
func TestInheritance(t *testing.T) {
	s := parse(t, "127.0.0.1:0")
	s.SendBuffer, s.ReceiveBuffer, s.NoDelay = 70000, 50000, true
	s.KeepAlive = KeepAlive{On: true, Idle: 41 * time.Second, Interval: 1500 * time.Millisecond, Count: 4}
	s.UserTimeout, s.DeferAccept, s.FastOpen = 7300*time.Millisecond, 3*time.Second, 16
	s.Congestion = "reno"
	fd := accepted(t, open(t, s))
	if got, err := sys.Congestion(fd); err != nil || got != "reno" {
		t.Errorf("TCP_CONGESTION of an accepted connection is %q, %v; want reno", got, err)
	}
	for _, want := range []struct {
		name string
		sys.Option
	}{
		// The kernel doubles the sizes of buffers, for its own bookkeeping.
		{"SO_SNDBUF", sys.Option{Level: sys.LevelSocket, Name: sys.SendBuffer, Value: 140000}},
		{"SO_RCVBUF", sys.Option{Level: sys.LevelSocket, Name: sys.ReceiveBuffer, Value: 100000}},
		{"TCP_NODELAY", sys.Option{Level: sys.LevelTCP, Name: sys.NoDelay, Value: 1}},
		{"SO_KEEPALIVE", sys.Option{Level: sys.LevelSocket, Name: sys.KeepAlive, Value: 1}},
		{"TCP_KEEPIDLE", sys.Option{Level: sys.LevelTCP, Name: sys.KeepAliveIdle, Value: 41}},
		{"TCP_KEEPINTVL", sys.Option{Level: sys.LevelTCP, Name: sys.KeepAliveInterval, Value: 2}},
		{"TCP_KEEPCNT", sys.Option{Level: sys.LevelTCP, Name: sys.KeepAliveCount, Value: 4}},
		{"TCP_USER_TIMEOUT", sys.Option{Level: sys.LevelTCP, Name: sys.UserTimeout, Value: 7300}},
	} {
		if got, err := sys.GetOption(fd, want.Option); err != nil || got != want.Value {
			t.Errorf("%s of an accepted connection is %d, %v; want %d", want.name, got, err, want.Value)
		}
	}
}

func TestUnknownCongestionControl(t *testing.T) {
	s := parse(t, "127.0.0.1:0")
	s.Congestion = "slowly"
	socket, err := Open(s)
	if err == nil {
		_ = socket.Close()
		t.Fatal("a congestion control that no kernel has was taken")
	}
	if !strings.Contains(err.Error(), "the kernel has") || !strings.Contains(err.Error(), "reno") {
		t.Errorf("the error does not name what the kernel has: %v", err)
	}
}

func TestListenerOptions(t *testing.T) {
	s := parse(t, "[::1]:0")
	s.ReusePort, s.V6Only, s.FastOpen, s.DeferAccept = true, true, 16, time.Second
	socket := open(t, s)
	for _, want := range []struct {
		name string
		sys.Option
	}{
		{"SO_REUSEADDR", sys.Option{Level: sys.LevelSocket, Name: sys.ReuseAddress, Value: 1}},
		{"SO_REUSEPORT", sys.Option{Level: sys.LevelSocket, Name: sys.ReusePort, Value: 1}},
		{"IPV6_V6ONLY", sys.Option{Level: sys.LevelIPv6, Name: sys.V6Only, Value: 1}},
		{"TCP_FASTOPEN", sys.Option{Level: sys.LevelTCP, Name: sys.FastOpen, Value: 16}},
		{"TCP_DEFER_ACCEPT", sys.Option{Level: sys.LevelTCP, Name: sys.DeferAccept, Value: 1}},
	} {
		if got, err := sys.GetOption(socket.FD, want.Option); err != nil || got != want.Value {
			t.Errorf("%s is %d, %v; want %d", want.name, got, err, want.Value)
		}
	}
}

// TestBothFamilies shows that [::] takes IPv4 too, unless it must not.
func TestBothFamilies(t *testing.T) {
	for _, only := range []bool{false, true} {
		s := parse(t, ":0")
		s.V6Only = only
		socket := open(t, s)
		client, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", socket.Spec.Address.Port()))
		if err == nil {
			_ = client.Close()
		}
		if (err != nil) != only {
			t.Errorf("V6Only %v: IPv4 got %v", only, err)
		}
	}
}

func TestDatagramSocket(t *testing.T) {
	socket := open(t, parse(t, "udp://127.0.0.1:0"))
	client, err := net.Dial("udp", socket.Spec.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.AwaitAny([]sys.Await{{FD: int32(socket.FD), Want: sys.Readable}}, int64(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	n, err := sys.Recv(socket.FD, p, 0)
	if err != nil || string(p[:n]) != "hello" {
		t.Errorf("received %q, %v", p[:max(n, 0)], err)
	}
	if _, err := Open(socket.Spec); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second socket at %s: %v; want %v", socket.Spec, err, syscall.EADDRINUSE)
	}
}

func TestInUse(t *testing.T) {
	socket := open(t, parse(t, "127.0.0.1:0"))
	began := time.Now()
	_, err := Open(socket.Spec)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("a second socket at %s: %v; want %v", socket.Spec, err, syscall.EADDRINUSE)
	}
	if took := time.Since(began); took < patience {
		t.Errorf("given up after %v; a predecessor may need up to %v", took, patience)
	}
	for _, part := range []string{socket.Spec.Address.String(), fmt.Sprintf("(process %d)", os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not name %q", err, part)
		}
	}
}

// TestPredecessor shows that an address is awaited that becomes free in a moment.
func TestPredecessor(t *testing.T) {
	socket := open(t, parse(t, "127.0.0.1:0"))
	timer := time.AfterFunc(patience/5, func() { _ = sys.Shutdown(socket.FD, 2) })
	defer timer.Stop()
	open(t, socket.Spec)
}

func TestUnixPredecessor(t *testing.T) {
	for _, name := range []string{socketPath(t), fmt.Sprintf("@myriad-predecessor-%d", os.Getpid())} {
		s := Spec{Network: "unix", Name: name}
		dying, err := sys.Socket(sys.Unix, sys.Stream, true)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := sys.EncodeUnix(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(sys.Bind(dying, raw), sys.Listen(dying, 1)); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(patience/5, func() { _ = sys.Close(dying) })
		open(t, s)
	}
}

func TestNotOurs(t *testing.T) {
	_, err := Open(parse(t, "192.0.2.1:80")) // an address for documentation, RFC 5737
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "ip address") {
		t.Errorf("Open: %v", err)
	}
}

func TestPrivilegedPort(t *testing.T) {
	s := parse(t, "127.0.0.1:80")
	err := explain(s, os.NewSyscallError("bind", syscall.EACCES))
	if 80 < unprivilegedPort() != strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("explained as %q", err)
	}
}

func TestBacklogWarning(t *testing.T) {
	most, err := readNumber("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, "127.0.0.1:0")
	for _, c := range []struct {
		backlog int
		warns   bool
	}{{most, false}, {most + 1, true}} {
		s.Backlog = c.backlog
		if warning := open(t, s).Warning; (warning != "") != c.warns {
			t.Errorf("a backlog of %d of %d: the warning is %q", c.backlog, most, warning)
		}
	}
}

func TestNoNetwork(t *testing.T) {
	if _, err := Open(Spec{Network: "sctp"}); err == nil || !strings.Contains(err.Error(), "sctp") {
		t.Errorf("Open: %v", err)
	}
}

// socketPath is a name for a Unix socket that is short enough.
func socketPath(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return filepath.Join(folder, "s")
}

func dialUnix(name string) error {
	c, err := net.Dial("unix", name)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func TestUnixMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666, 0o777} {
		s := Spec{Network: "unix", Name: socketPath(t), Mode: mode}
		open(t, s)
		found, err := os.Lstat(s.Name)
		if err != nil || found.Mode().Perm() != mode || found.Mode().Type() != fs.ModeSocket {
			t.Errorf("the mode is %v, %v; want %v", found.Mode(), err, mode)
		}
	}
}

func TestUnixStale(t *testing.T) {
	s := Spec{Network: "unix", Name: socketPath(t)}
	dead := open(t, s)
	if err := sys.Close(dead.FD); err != nil { // as if killed: the file stays
		t.Fatal(err)
	}
	dead.FD = -1
	if err := dialUnix(s.Name); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("the stale socket: %v", err)
	}
	open(t, s)
	if err := dialUnix(s.Name); err != nil {
		t.Errorf("the new socket: %v", err)
	}
}

func TestUnixLive(t *testing.T) {
	for _, name := range []string{socketPath(t), fmt.Sprintf("@myriad-listen-%d", os.Getpid())} {
		s := Spec{Network: "unix", Name: name}
		open(t, s)
		if _, err := Open(s); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), name) {
			t.Errorf("a second socket at %s: %v", s, err)
		}
		if err := dialUnix(name); err != nil {
			t.Errorf("the first socket after that: %v", err)
		}
	}
}

func TestUnixNoSocket(t *testing.T) {
	name := socketPath(t)
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Spec{Network: "unix", Name: name}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("Open: %v", err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
	missing := Spec{Network: "unix", Name: filepath.Join(filepath.Dir(name), "none", "s")}
	if _, err := Open(missing); err == nil || !strings.Contains(err.Error(), "make it first") {
		t.Errorf("Open in a folder that is not there: %v", err)
	}
	long := Spec{Network: "unix", Name: "/" + strings.Repeat("x", 107)}
	if _, err := Open(long); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("Open of a long name: %v", err)
	}
}

// TestUnixClose shows that the file goes with the socket, unless a successor has put its own there.
func TestUnixClose(t *testing.T) {
	s := Spec{Network: "unix", Name: socketPath(t)}
	first, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Name); err != nil {
		t.Fatal(err)
	}
	second, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if err := dialUnix(s.Name); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
	_ = second.Close()
	if _, err := os.Lstat(s.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file after Close: %v", err)
	}
}

func TestGroup(t *testing.T) {
	s := parse(t, "127.0.0.1:0")
	s.ReusePort = true
	g := NewGroup(s)
	defer g.Close()
	for worker := range 3 {
		fd, err := g.Open(worker)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sys.LocalAddress(fd); err != nil || got != g.Spec().Address {
			t.Errorf("worker %d listens on %v, %v; want %v", worker, got, err, g.Spec().Address)
		}
	}
	if _, err := g.Open(1); err == nil {
		t.Error("a worker opened twice")
	}
}

func TestGroupUnix(t *testing.T) {
	g := NewGroup(Spec{Network: "unix", Name: socketPath(t)})
	fd, err := g.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = sys.Close(fd)
	g.Closed(0)
	if _, err := os.Lstat(g.Spec().Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file after Closed: %v", err)
	}
}
