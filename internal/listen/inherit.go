package listen

import (
	"fmt"

	"github.com/myriad-server/myriad/internal/sys"
)

// Inherited makes a group of sockets that another process has opened, which keeps them: the file of a unix socket is
// its to remove. s is what they were opened from, with the port that they have. descriptors are by worker, non-blocking
// and close-on-exec, and belong to the group until Open gives them away.
func Inherited(s Spec, descriptors []int) *Group {
	g := NewGroup(s)
	g.opened, g.given = true, descriptors
	return g
}

// take gives away the descriptor of a worker that was inherited. Under mu.
func (g *Group) take(worker int) (int, error) {
	if worker >= len(g.given) || g.given[worker] < 0 {
		if g.heir {
			return g.open(worker)
		}
		return -1, fmt.Errorf("listen on %s: no socket was inherited for worker %d", g.spec, worker)
	}
	fd := g.given[worker]
	g.given[worker] = -1
	g.sockets[worker] = &Socket{FD: fd, Spec: g.spec}
	return fd, nil
}

// drop closes what was inherited and given to nobody. Under mu.
func (g *Group) drop() {
	for i, fd := range g.given {
		if fd >= 0 {
			_ = sys.Close(fd)
		}
		g.given[i] = -1
	}
}
