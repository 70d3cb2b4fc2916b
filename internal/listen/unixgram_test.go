package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// sendUnix sends a datagram to a socket's name.
func sendUnix(name, text string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = c.Write([]byte(text))
	return errors.Join(err, c.Close())
}

// TestUnixDatagrams opens sockets that take datagrams as those that take connections: a file that nobody listens at any
// more is replaced, one that somebody listens at is not, and it goes with its socket.
func TestUnixDatagrams(t *testing.T) {
	for _, name := range []string{socketPath(t), fmt.Sprintf("@myriad-listen-datagrams-%d", os.Getpid())} {
		s := Spec{Network: "unixgram", Name: name, Mode: 0o620, Backlog: 1 << 30, ReceiveBuffer: 64 << 10}
		dead, err := Open(s)
		if err != nil {
			t.Fatal(err)
		}
		if dead.Warning != "" || dead.Spec.String() != "unix:"+name {
			t.Errorf("%s: %q", dead.Spec, dead.Warning)
		}
		for _, network := range []string{"unixgram", "unix"} {
			if name[0] == '@' && network == "unix" {
				continue // the kernel keeps abstract names of either kind apart
			}
			if _, err := Open(Spec{Network: network, Name: name}); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("another socket of %s at %s: %v", network, s, err)
			}
		}
		if err := sys.Close(dead.FD); err != nil { // as if killed: a file stays
			t.Fatal(err)
		}
		socket, err := Open(s)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := os.Lstat(name); name[0] != '@' && (err != nil || found.Mode() != fs.ModeSocket|0o620) {
			t.Errorf("the mode is %v, %v", found.Mode(), err)
		}
		if err := sendUnix(name, "hello"); err != nil {
			t.Error(err)
		}
		p := make([]byte, 10)
		ready := []sys.Await{{FD: int32(socket.FD), Want: sys.Readable}}
		if _, err := sys.AwaitAny(ready, int64(20*time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := sys.Recv(socket.FD, p, 0); err != nil || string(p[:n]) != "hello" {
			t.Errorf("received %q, %v", p[:max(n, 0)], err)
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(name); name[0] != '@' && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file after Close: %v", err)
		}
	}
}
