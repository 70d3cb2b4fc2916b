package front

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/myriad-server/myriad/balance"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/driver"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// The limits of an entry: who comes there has been answered a moment later.
const (
	entryConnections = 10_000
	entryBlocks      = 512
	entryBlockBytes  = 16 << 10
	entryDrain       = time.Second
	entryPatience    = 10 * time.Second
)

// question is what a client says that is no HTTP, with a line's end.
const question = "WORKER"

// Place is a worker that serves at a port of its own.
type Place struct {
	Port  uint16
	Shown Shown
}

// Entry tells clients the port of the worker that has the fewest connections; those that are even take turns. A client
// that speaks HTTP is redirected with 307, and one that sends the line WORKER gets the address and the port in a line.
// Its methods are for any goroutine.
type Entry struct {
	mu     sync.Mutex
	ports  []uint16
	loads  []*busyness
	picker balance.Picker
}

// NewEntry makes an entry that knows of no worker.
func NewEntry() *Entry {
	e := &Entry{}
	e.Set(nil)
	return e
}

// Set says which workers there are from now on.
func (e *Entry) Set(places []Place) {
	ports, loads := make([]uint16, len(places)), make([]*busyness, len(places))
	members := make([]balance.Member, len(places))
	for i, p := range places {
		ports[i], loads[i] = p.Port, &busyness{shown: p.Shown}
		members[i] = balance.Member{Name: strconv.Itoa(int(p.Port)), Load: loads[i].load}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ports, e.loads, e.picker = ports, loads, balance.LeastConnections{}.Build(members)
}

// choose is the port of the next client; false: there is no worker.
func (e *Entry) choose() (port uint16, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.picker.Pick(0, nil)
	if i < 0 {
		return 0, false
	}
	e.loads[i].given++
	return e.ports[i], true
}

// Engine is what an entry runs on.
type Engine struct {
	Model   serve.Model
	Driver  driver.Factory
	Options driver.Options
	Log     *slog.Logger
}

// Serve answers at a listening socket, non-blocking, until ctx ends. The descriptor stays the caller's.
func (e *Entry) Serve(ctx context.Context, name string, fd int, on Engine) error {
	site := &serve.Site{
		Listeners: []serve.Listener{{
			Name: name, Network: "tcp", Handler: e.handlers(),
			Open: func(int) (int, error) { return sys.Duplicate(fd) },
		}},
		Driver: on.Driver, Options: on.Options, Accept: serve.OneAcceptor, Log: on.Log,
		Limits: serve.Limits{
			Loops: 1, Workers: 1, Queue: entryConnections, Connections: entryConnections, BlockBytes: entryBlockBytes,
			Blocks: entryBlocks, OutputBytes: entryBlockBytes, Drain: entryDrain,
		},
	}
	return on.Model.Serve(ctx, site)
}

var (
	elsewhere = web.NewAnswer(307, "", nil, http1.FieldLine{Name: "Cache-Control", Value: "no-store"})
	nowhere   = web.NewAnswer(503, "text/plain", []byte("no worker serves\n"),
		http1.FieldLine{Name: "Cache-Control", Value: "no-store"}, http1.FieldLine{Name: "Retry-After", Value: "1"})
)

// handlers makes handlers of connections to the entry.
func (e *Entry) handlers() func() conn.Handler {
	server := &web.Server{
		Root:      web.HandlerFunc(e.redirect),
		Limits:    web.Limits{Requests: 1},
		Timeouts:  web.Timeouts{Idle: entryPatience, Head: entryPatience},
		AnyMethod: true,
	}
	return func() conn.Handler { return &entrance{Handler: server.Handler(), entry: e} }
}

// redirect answers a request. What the client called this host by, it calls the worker by too.
func (e *Entry) redirect(x *web.Exchange) {
	port, ok := e.choose()
	if !ok {
		x.Respond(nowhere)
		return
	}
	r := x.Request()
	b := append([]byte(nil), "http://"...)
	if host := x.Host(); len(host) > 0 {
		b = append(b, host...)
		b = strconv.AppendUint(append(b, ':'), uint64(port), 10)
	} else {
		b = netip.AddrPortFrom(x.Conn().Local().Addr().Unmap(), port).AppendTo(b)
	}
	if path := r.Path(); len(path) > 0 && path[0] == '/' {
		b = append(b, path...)
	} else { // OPTIONS of the server itself
		b = append(b, '/')
	}
	if query := r.Query(); query != nil {
		b = append(append(b, '?'), query...)
	}
	x.AddBytes("Location", b)
	x.Add("Alt-Svc", `http/1.1=":`+strconv.Itoa(int(port))+`"`)
	x.Respond(elsewhere)
}

// entrance is a handler of HTTP that looks at the first bytes before.
type entrance struct {
	conn.Handler
	entry *Entry
}

// Received answers who asks for a worker, and leaves everything else to HTTP. There is no such method there: that word
// would be followed by a space.
func (h *entrance) Received(c conn.Conn, in []byte) int {
	first := in[:min(len(in), len(question))]
	if came, _ := c.Traffic(); came != uint64(len(in)) || string(first) != question[:len(first)] {
		return h.Handler.Received(c, in) // it is not the first that comes, or something else
	}
	rest := bytes.TrimPrefix(in[len(first):], []byte("\r"))
	switch {
	case len(rest) == 0: // the timer of HTTP runs
		return 0
	case rest[0] != '\n':
		return h.Handler.Received(c, in)
	}
	if port, ok := h.entry.choose(); ok {
		address := c.Local().Addr().Unmap().String()
		c.Write([]byte(address + " " + strconv.Itoa(int(port)) + "\n"))
	} else {
		c.Write([]byte("NONE\n"))
	}
	c.Drain()
	return len(in)
}
