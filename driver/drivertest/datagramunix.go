package drivertest

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
)

// unixNames makes Unix datagram sockets with names of every kind: in a folder and abstract, short and as long as may
// be, with a zero byte.
func unixNames(r *rig) func(*rig) (fd int, at netip.AddrPort) {
	unique := fmt.Sprintf("myriad-drivertest-%d-%d-", sys.Gettid(), r.random.Uint64())
	folder := r.TempDir()
	full := func(prefix string, n int) string { return prefix + strings.Repeat("x", n-len(prefix)) }
	names := []string{
		filepath.Join(folder, "socket"), full(folder+"/", 107), full(folder+"/", 108), full("@"+unique, 108),
		"@" + unique, "@" + unique + "\x00\xff", filepath.Join(folder, "@"), filepath.Join(folder, "last"),
	}
	return func(r *rig) (int, netip.AddrPort) {
		r.Helper()
		fd, err := sys.Socket(sys.Unix, sys.Datagram, true)
		r.must(err)
		name := names[0]
		names = names[1:]
		at := sys.UnixPeer(name)
		raw, _ := sys.EncodeAddress(nil, at)
		r.must(sys.Bind(fd, raw))
		return fd, at
	}
}

// datagramsUnanswered receives from a socket without a name, whose peer is nobody, and sends to one that does not read:
// what does not fit is refused, and others get theirs.
func datagramsUnanswered(r *rig) {
	sockets := unixNames(r)
	fd, local := sockets(r)
	id := r.adopt(fd)
	target, _ := sys.EncodeAddress(nil, local)
	for _, many := range []bool{true, false} {
		recv := r.start(driver.Op{Code: driver.RecvFrom, FD: id, Many: many})
		nameless := r.mine(sys.Socket(sys.Unix, sys.Datagram, true))
		r.must(second(sys.SendTo(nameless, []byte("hello"), target)))
		r.until("it has come", func() bool { return len(recv.peers) == 1 })
		if peer := recv.peers[0]; peer.IsValid() || string(recv.data) != "hello" {
			r.Fatalf("%q from %v", recv.data, peer)
		}
		if many {
			r.canceled(recv)
		}
	}
	fd, at := sockets(r)
	full := r.mine(fd, nil)
	toFull, _ := sys.EncodeAddress(nil, at)
	fd, at = sockets(r)
	other := r.mine(fd, nil)
	toOther, _ := sys.EncodeAddress(nil, at)
	taken := 0
	for {
		c := r.do(driver.Op{Code: driver.SendTo, FD: id, Buf: []byte("much"), Addr: toFull})
		if c.Err != nil {
			if c.Err != syscall.ENOBUFS {
				r.Fatalf("a full queue is %v", c.Err)
			}
			break
		}
		taken++
	}
	pairs := [][]byte{[]byte("one"), toOther, []byte("more"), toFull, []byte("two"), toOther}
	if c := r.do(driver.Op{Code: driver.SendMany, FD: id, Rest: pairs}); c.Err != syscall.ENOBUFS || c.Result != 1 {
		r.Fatalf("the second of three is for a full queue: %+v", c)
	}
	r.ok(driver.Op{Code: driver.SendMany, FD: id, Rest: pairs[4:]})
	r.expect(other, []string{"one", "two"})
	r.expect(full, strings.Split(string(bytes.Repeat([]byte("much "), taken)), " ")[:taken])
}
