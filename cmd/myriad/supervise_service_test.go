package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager hears what a service tells as systemd does.
type manager struct {
	t      *testing.T
	socket *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return &manager{t, socket}
}

// hears waits for a message that begins so; others may come before it.
func (m *manager) hears(want string) {
	m.t.Helper()
	message := make([]byte, 4096)
	if err := m.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	for {
		n, err := m.socket.Read(message)
		if err != nil {
			m.t.Fatalf("%q is not heard: %v", want, err)
		}
		if strings.HasPrefix(string(message[:n]), want) {
			return
		}
	}
}

// TestWorkersService is the life of a server of several processes as a service manager sees it.
func TestWorkersService(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "200000")
	file := filepath.Join(t.TempDir(), "myriad.pid")
	f := configured(t, "shared", `listeners: [{address: "127.0.0.1:0"}]`,
		"routes: [{respond: {body: one}}]", "pid_file: "+file)
	m.hears("READY=1")
	m.hears("WATCHDOG=1")
	m.hears("WATCHDOG=1")
	text, err := os.ReadFile(file)
	if want := f.command.Process.Pid; err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(want) {
		t.Errorf("the pid file says %q, want %d: %v", text, want, err)
	}
	f.signal(syscall.SIGHUP)
	m.hears("RELOADING=1\nMONOTONIC_USEC=")
	m.hears("READY=1")
	f.write("routes: wrong")
	f.signal(syscall.SIGHUP)
	m.hears("RELOADING=1")
	m.hears("READY=1\nSTATUS=serves with the configuration that it had")
	f.signal(syscall.SIGTERM)
	m.hears("STOPPING=1")
	f.ends(0)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
}
