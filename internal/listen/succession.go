package listen

import (
	"fmt"
	"os"

	"github.com/myriad-server/myriad/internal/sys"
)

// Copies are descriptors of the sockets that are open, by worker, for another process: -1 where there is none. They are
// the caller's.
func (g *Group) Copies() ([]int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var copies []int
	for worker, socket := range g.sockets {
		for len(copies) <= worker {
			copies = append(copies, -1)
		}
		fd, err := sys.Duplicate(socket.FD)
		if err != nil {
			for _, fd := range copies {
				if fd >= 0 {
					_ = sys.Close(fd)
				}
			}
			return nil, fmt.Errorf("listen on %s: %w", g.spec, os.NewSyscallError("fcntl", err))
		}
		copies[worker] = fd
	}
	return copies, nil
}

// Bequeath leaves the files of unix sockets to another process, which has got copies.
func (g *Group) Bequeath() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, socket := range g.sockets {
		socket.Disown()
	}
}

// Succeeding makes a group of the sockets of a process that this one is to follow. It is as one that Inherited makes
// until Own is called, but opens sockets for the workers for whom there is none.
func Succeeding(s Spec, descriptors []int) *Group {
	g := Inherited(s, descriptors)
	g.heir = true
	return g
}

// Own makes the files of unix sockets those of this process, which removes them at the end, unless they are lent.
func (g *Group) Own() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lent {
		return
	}
	for _, socket := range g.sockets {
		socket.Own()
	}
}

// Own makes the file of a unix socket that was inherited that of this process.
func (s *Socket) Own() {
	if s.Spec.unix() && s.file == nil {
		if file, err := os.Lstat(s.Spec.Name); err == nil { // an abstract name has none
			s.file = file
		}
	}
}

// Disown leaves the file of a unix socket to another process.
func (s *Socket) Disown() { s.file = nil }
