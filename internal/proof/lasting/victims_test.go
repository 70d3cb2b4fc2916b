package lasting

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/sockets"
)

// A victim is what a worker held when it was killed.
type victim struct {
	ports map[int]bool // of its clients; of UDP, those that the server behind it knows its sessions by
	web   int          // connections to the listener of HTTP
}

// examine lists what a worker holds. The worker has been stopped: it accepts nothing any more.
func examine(t testing.TB, s *stand, pid int) *victim {
	t.Helper()
	v := &victim{ports: map[int]bool{}}
	web, tunnels := netip.MustParseAddrPort(s.web), netip.MustParseAddrPort(s.tunnels)
	inodes := map[uint32]bool{}
	var all []sockets.Socket
	err := sockets.List(sockets.Query{}, func(one *sockets.Socket) {
		if one.Inode != 0 && one.Remote.Port() != 0 && (one.Local == web || one.Local == tunnels) {
			inodes[one.Inode] = true
			all = append(all, *one)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for inode, port := range datagramPorts(t) {
		inodes[inode] = true
		all = append(all, sockets.Socket{Inode: inode, Remote: netip.AddrPortFrom(netip.Addr{}, port)})
	}
	owners, err := sockets.Owners("/proc", pid, inodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if _, its := owners.Owner(one.Inode); its {
			v.ports[int(one.Remote.Port())] = true
			if one.Local == web {
				v.web++
			}
		}
	}
	return v
}

// datagramPorts are the local ports of all sockets of UDP, by their inodes: proc(5), /proc/net/udp.
func datagramPorts(t testing.TB) map[uint32]uint16 {
	t.Helper()
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	ports := map[uint32]uint16{}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 10 || fields[0] == "sl" {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		inode, other := strconv.ParseUint(fields[9], 10, 32)
		if err != nil || other != nil {
			t.Fatalf("/proc/net/udp: %q", line)
		}
		ports[uint32(inode)] = uint16(port)
	}
	return ports
}

// workers are the processes of the server beside the one that was started.
func (s *server) workers() (pids []int) {
	for _, pid := range s.Members() {
		if pid != s.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isStopped tells whether every thread of a process has stopped, as /proc/PID/task/TID/stat says it: the kernel stops
// one after the other, and one that has not stopped may still accept.
func isStopped(pid int) bool {
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, name := range threads {
		text, gone := os.ReadFile(name)
		if _, rest, _ := strings.Cut(string(text), ") "); gone == nil && !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// fromPort is the port in an address that the server behind has told.
func fromPort(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// String is how many connections a victim had.
func (v *victim) String() string { return fmt.Sprintf("%d connections", len(v.ports)) }
