package sockets

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/myriad-server/myriad/internal/sys"
)

// Process is who has a socket.
type Process struct {
	PID  int
	Name string // as in /proc/PID/comm
}

// String is the process as people look for it: nginx (1234).
func (p Process) String() string { return p.Name + " (" + strconv.Itoa(p.PID) + ")" }

// Ownership is who has which sockets.
type Ownership struct {
	owners map[uint32]Process
	// Closed is how many processes did not let us look.
	Closed int
}

// Owner is the process that has a socket, by the inode. Of several that share it, it is the one with the lowest number.
func (o *Ownership) Owner(inode uint32) (p Process, known bool) {
	if inode == 0 {
		return Process{}, false
	}
	p, known = o.owners[inode]
	return p, known
}

// Owners walks through the descriptors of all processes, or of one if pid is not 0, for the sockets that wanted holds;
// nil is all of them that have descriptors. It takes about a microsecond for each descriptor on the host. Of what no
// descriptor leads to, the rings of io_uring are asked. A process that ends meanwhile is passed over; the error is for
// a /proc that cannot be read at all, or the one process that cannot.
func Owners(proc string, pid int, wanted map[uint32]bool) (*Ownership, error) {
	pids := []int{pid}
	if pid == 0 {
		entries, err := os.ReadDir(proc)
		if err != nil {
			return nil, err
		}
		pids = pids[:0]
		for _, e := range entries {
			if n, err := strconv.Atoi(e.Name()); err == nil {
				pids = append(pids, n)
			}
		}
		slices.Sort(pids)
	}
	o := &Ownership{owners: map[uint32]Process{}}
	for _, p := range pids {
		err := o.look(filepath.Join(proc, strconv.Itoa(p)), p, wanted)
		if err != nil && pid != 0 {
			return nil, err
		}
		if os.IsPermission(err) {
			o.Closed++
		}
	}
	for _, p := range pids {
		if !o.misses(wanted) {
			break
		}
		o.lookInRings(filepath.Join(proc, strconv.Itoa(p)), p, wanted)
	}
	return o, nil
}

// misses says whether somebody has to be found yet. Sockets in TIME_WAIT and the like, of inode 0, have nobody.
func (o *Ownership) misses(wanted map[uint32]bool) bool {
	for inode := range wanted {
		if _, known := o.owners[inode]; !known && inode != 0 {
			return true
		}
	}
	return false
}

func (o *Ownership) look(folder string, pid int, wanted map[uint32]bool) error {
	process, err := processOf(folder, pid)
	if err != nil {
		return err
	}
	return eachSocket(folder, func(_ string, inode uint32) {
		if wanted == nil || wanted[inode] {
			o.own(inode, process)
		}
	})
}

// lookInRings passes over a process that has ended, or that look was not let into either.
func (o *Ownership) lookInRings(folder string, pid int, wanted map[uint32]bool) {
	process, err := processOf(folder, pid)
	if err != nil {
		return
	}
	_ = directSockets(folder, func(inode uint32) {
		if wanted[inode] {
			o.own(inode, process)
		}
	})
}

func (o *Ownership) own(inode uint32, p Process) {
	if _, known := o.owners[inode]; !known {
		o.owners[inode] = p
	}
}

func processOf(folder string, pid int) (Process, error) {
	name, err := os.ReadFile(filepath.Join(folder, "comm"))
	return Process{pid, strings.TrimSpace(string(name))}, err
}

// eachSocket visits the descriptors of a process that are sockets, by its folder in /proc.
func eachSocket(folder string, visit func(file string, inode uint32)) error {
	open, err := os.Open(filepath.Join(folder, "fd"))
	if err != nil {
		return err
	}
	defer func() { _ = open.Close() }()
	for {
		const some = 1024
		names, err := open.Readdirnames(some)
		if err != nil {
			return nil // io.EOF, or the process has ended
		}
		for _, n := range names {
			file := filepath.Join(folder, "fd", n)
			target, err := os.Readlink(file)
			if inode, ok := socketInode(target); ok && err == nil {
				visit(file, inode)
			}
		}
	}
}

// overTCP are the kinds of sockets that are in the kernel's list of TCP. A listener of MPTCP, which Go makes of each,
// gives its kind to what it accepts.
var overTCP = []string{"TCP", "TCPv6", "MPTCP", "MPTCPv6"}

// Ended counts the TCP sockets that a process has descriptors for and the kernel lists no more: connections that are
// over, by a reset or a timeout, and were not closed, and sockets that were never connected. Those that ended while
// they were counted may be among them.
func Ended(proc string, pid int) (int, error) {
	folder := filepath.Join(proc, strconv.Itoa(pid))
	files := map[uint32]string{}
	if err := eachSocket(folder, func(file string, inode uint32) { files[inode] = file }); err != nil {
		return 0, err
	}
	err := List(Query{}, func(s *Socket) { delete(files, s.Inode) })
	if err != nil && !errors.Is(err, sys.ErrSocketsChanged) {
		return 0, err
	}
	ended := 0
	for inode, file := range files {
		target, err := os.Readlink(file)
		if now, ok := socketInode(target); err != nil || !ok || now != inode {
			continue // closed meanwhile
		}
		if protocol, err := sys.SocketProtocol(file); err == nil && slices.Contains(overTCP, protocol) {
			ended++
		}
	}
	return ended, nil
}

func socketInode(target string) (uint32, bool) {
	text, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(n), err == nil
}
