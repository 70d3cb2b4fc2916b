package lab

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestBlocking makes a file that the runtime's poller does not know: it takes no deadline, and reads all the same.
func TestBlocking(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	f, err := blocking(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.SetReadDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("the poller knows it: %v", err)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if n, err := f.Read(one[:]); n != 1 || err != nil || one[0] != 'x' {
		t.Errorf("%d, %v, %q", n, err, one)
	}
}
