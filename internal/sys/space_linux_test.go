package sys

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
)

// fillUp sends until the kernel takes nothing more, and returns how much that was.
func fillUp(t *testing.T, fd int) (sent int) {
	for {
		space, known := SendSpace(fd)
		if !known || space < 0 {
			t.Fatalf("space %d, %v", space, known)
		}
		most := min(space, 16<<10)
		if space == 0 {
			most = 1 << 10 // for which nothing was promised
		}
		n, err := Send(fd, make([]byte, most), MsgDontWait)
		sent += max(n, 0)
		switch {
		case space == 0 && errors.Is(err, syscall.EAGAIN):
			return sent
		case err != nil || space > 0 && int64(n) != most:
			t.Fatalf("%d of %d bytes were taken: %v", n, space, err)
		}
	}
}

// TestSendSpace wants the kernel to take as much as it was said to, until it takes no more, and then nothing to be
// said; and again something once the peer has read.
func TestSendSpace(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			at := "127.0.0.1:0"
			if network == "unix" {
				at = filepath.Join(t.TempDir(), "socket")
			}
			l, err := net.Listen(network, at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			from, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			to, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer to.Close()
			raw, err := from.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			sent := 0
			fill := func(fd uintptr) { sent = fillUp(t, int(fd)) }
			if err := raw.Control(fill); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 64<<10)
			for got := 0; got < sent; {
				n, err := to.Read(buffer)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
			if err := raw.Control(func(fd uintptr) {
				if space, _ := SendSpace(int(fd)); space == 0 && network == "unix" { // TCP hears of it a little later
					t.Error("no space although all was read")
				}
			}); err != nil {
				t.Fatal(err)
			}
			if _, known := SendSpace(-1); known {
				t.Error("space of nothing")
			}
		})
	}
}
