// Package control is the admin API of a running server: what it knows of itself and of every connection, as JSON over
// HTTP, and the few things that an operator may change while it runs. docs/admin.md describes it for users.
//
// It is no part of the way of a request: it runs on goroutines of its own, over net/http, and asks the loops through
// their doors, a little at a time. [Server] answers, [Client] asks.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
)

const (
	// patience is how long the loops have to answer one question.
	patience = 10 * time.Second
	// headTime and idleTime bound what a client of the API may hold.
	headTime = 10 * time.Second
	idleTime = 2 * time.Minute
)

// Server is the admin API of one running server.
type Server struct {
	app   *app.App
	level *slog.LevelVar
	log   *slog.Logger
	http  http.Server
	mux   *http.ServeMux
	lists chan struct{} // holds one for each listing that goes on

	known   []route // what can be asked
	mounted []route // what others have added
	before  func()  // samples the figures, before anybody asks for them
	behind  func(ctx context.Context)
	sampler sampler
	tracing tracing
	group   sync.WaitGroup
	socket  *listen.Socket
	lent    int // the socket of a service manager; 0: there is none
	taken   int // the socket that Start is to take; 0: none

	listener net.Listener
	end      context.CancelFunc
}

// listsAtOnce is how many listings may go on at a time: each asks the loops for a little, again and again.
const listsAtOnce = 2

// New makes the admin API of a server. level is that of its log, for it to be changed.
func New(a *app.App, level *slog.LevelVar) *Server {
	s := &Server{app: a, level: level, log: a.Log(), lists: make(chan struct{}, listsAtOnce)}
	s.before = func() { s.sampler.sample(a) }
	s.behind = func(ctx context.Context) { s.sampler.run(ctx, a) }
	s.prepare(routes())
	s.mountObserved()
	return s
}

// prepare makes the server answer what is known.
func (s *Server) prepare(known []route) {
	s.known = known
	s.mux = s.handler()
	s.http = http.Server{
		Handler: s.mux, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Start listens, answers from then on, and returns where it listens, such as "unix:/run/myriad/7.sock".
func (s *Server) Start(at config.AutoOrOffOrAddress) (address string, err error) {
	l, err := s.open(at)
	if err != nil {
		return "", fmt.Errorf("the admin API: %w", err)
	}
	s.listener = l
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	s.before()
	s.group.Go(func() { s.behind(ctx) })
	s.group.Go(func() {
		err := s.http.Serve(l)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) { // or bequeathed
			s.log.Error("the admin API has ended", "error", err)
		}
	})
	return s.socket.Spec.String(), nil
}

// Close ends the admin API: whoever follows its events is cut off.
func (s *Server) Close() error {
	if s.end == nil {
		return nil
	}
	s.end()
	err := s.farewell(farewellTime)
	s.socket.RemoveFile()
	s.group.Wait()
	return err
}

// place is where to listen.
func place(at config.AutoOrOffOrAddress) (listen.Spec, error) {
	if !at.Auto() && at.Address.Network == config.TCP {
		return listen.Spec{Network: "tcp", Address: at.Address.AddrPort()}, nil
	}
	spec := listen.Spec{Network: "unix", Name: at.Address.Path, Mode: 0o600}
	if at.Auto() {
		folder, err := makeFolder()
		if err != nil {
			return spec, err
		}
		sweep(folder)
		spec.Name = fmt.Sprintf("%s/%d.sock", folder, os.Getpid())
	}
	return spec, nil
}

// Folder is the runtime directory, where servers of this user listen for those who look after them.
func Folder() string {
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); runtime != "" {
		return runtime + "/myriad"
	}
	if os.Geteuid() == 0 {
		return "/run/myriad"
	}
	return fmt.Sprintf("%s/myriad-%d", os.TempDir(), os.Geteuid())
}

// makeFolder makes the runtime directory, and makes sure that nobody else has put one there.
func makeFolder() (string, error) {
	folder := Folder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("the admin API has no directory for its socket: %w; name one with --admin unix:PATH", err)
	}
	found, err := os.Lstat(folder)
	if err != nil {
		return "", fmt.Errorf("the admin API: %w", err)
	}
	owner, known := sys.OwnerOf(found)
	if !found.IsDir() || found.Mode().Perm()&0o022 != 0 || known && owner != os.Geteuid() {
		return "", fmt.Errorf("the admin API does not listen in %s: it is no directory that only this user may write to; "+
			"name another place with --admin unix:PATH", folder)
	}
	return folder, nil
}

// sweep removes the sockets of servers that were killed, and the folders of workers' sockets of supervisors that were:
// nobody answers there, and there is no process of the number any more. One whose number is only not to be seen from
// here, in another container, answers.
func sweep(folder string) {
	paths, _ := filepath.Glob(filepath.Join(folder, "*.sock")) // the pattern is well formed
	for _, path := range paths {
		if !alive(strings.TrimSuffix(filepath.Base(path), ".sock")) {
			sweepSocket(path)
		}
	}
	entries, _ := os.ReadDir(folder) // what cannot be read stays
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil || number <= 0 || !entry.IsDir() || alive(entry.Name()) {
			continue
		}
		inner := filepath.Join(folder, entry.Name())
		if _, err := os.Lstat(inner + ".sock"); err == nil {
			continue // its supervisor answers, elsewhere
		}
		paths, _ := filepath.Glob(filepath.Join(inner, "*.sock"))
		for _, path := range paths {
			sweepSocket(path)
		}
		_ = os.Remove(inner) // it stays while a worker of it drains, or if anything else is in it
	}
}

// alive reports that there is a process of a number.
func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// sweepSocket removes a socket at which nobody answers.
func sweepSocket(path string) {
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // who cannot may leave it: clients pass it over
	}
}
