package sockets

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ringTries is how often a ring is asked: the kernel leaves the table out of the answer while somebody works with it.
const ringTries = 20

// directSockets visits the sockets that a process holds as direct descriptors of io_uring, by its folder in /proc. They
// are no descriptors of the process, and only /proc/PID/fdinfo of the ring tells of them (io_uring_register_files(3)).
// The kernel holds the ring's lock while it writes that, some milliseconds for a table of 20,000.
func directSockets(folder string, visit func(inode uint32)) error {
	entries, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(folder, "fd", e.Name()))
		if err != nil || target != "anon_inode:[io_uring]" {
			continue
		}
		for range ringTries {
			if readRing(filepath.Join(folder, "fdinfo", e.Name()), visit) {
				break
			}
		}
	}
	return nil
}

// readRing visits the sockets of one ring; told is whether the kernel told of its table.
func readRing(file string, visit func(inode uint32)) (told bool) {
	open, err := os.Open(file)
	if err != nil {
		return true // closed meanwhile, or not to be asked again
	}
	defer func() { _ = open.Close() }()
	lines := bufio.NewScanner(open)
	for lines.Scan() {
		number, file, _ := strings.Cut(lines.Text(), ":")
		switch {
		case number == "UserFiles":
			told = true
		case number == "UserBufs":
			return told
		case told:
			if inode, ok := socketInode(strings.TrimSpace(file)); ok {
				visit(inode)
			}
		}
	}
	return told
}
