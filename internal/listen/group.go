package listen

import (
	"fmt"
	"sync"

	"github.com/myriad-server/myriad/internal/sys"
)

// Group opens one listening socket for each of several workers at one address. The first socket decides the port where
// the Spec leaves it to the kernel. Its methods fit serve.Listener and are safe for use by several goroutines.
type Group struct {
	mu      sync.Mutex
	spec    Spec
	sockets map[int]*Socket // of workers that have theirs open
	warning string
	opened  bool
	given   []int // inherited, by worker; -1: taken
	heir    bool  // of the process that has opened what is inherited
	lent    bool  // somebody else keeps the socket, and its file
}

// NewGroup makes a group that opens sockets from s. More than one worker needs s.ReusePort.
func NewGroup(s Spec) *Group { return &Group{spec: s, sockets: map[int]*Socket{}} }

// Open opens the socket of a worker and returns its descriptor, which the caller closes; then it calls Closed.
func (g *Group) Open(worker int) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sockets[worker] != nil {
		return -1, fmt.Errorf("listen on %s: worker %d has opened it already", g.spec, worker)
	}
	if g.given != nil {
		return g.take(worker)
	}
	return g.open(worker)
}

// open opens the socket of a worker. Under mu.
func (g *Group) open(worker int) (int, error) {
	socket, err := Open(g.spec)
	if err != nil {
		return -1, err
	}
	if !g.opened {
		g.opened, g.spec.Address, g.warning = true, socket.Spec.Address, socket.Warning
	}
	g.sockets[worker] = socket
	return socket.FD, nil
}

// Closed is told that the descriptor of a worker has been closed. The file of a unix socket goes.
func (g *Group) Closed(worker int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if socket := g.sockets[worker]; socket != nil {
		delete(g.sockets, worker)
		socket.RemoveFile()
	}
}

// Spec is what the sockets are opened from, with the port once the first is open.
func (g *Group) Spec() Spec {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spec
}

// Warning is that of the first socket.
func (g *Group) Warning() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.warning
}

// Close closes what is open and was given to nobody else.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop()
	for worker, socket := range g.sockets {
		_ = sys.Close(socket.FD)
		socket.RemoveFile()
		delete(g.sockets, worker)
	}
}
