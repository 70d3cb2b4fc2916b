package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// serverFlags are the flags of every command that serves.
type serverFlags struct {
	Listen []string `sep:"none" placeholder:"ADDR" help:"Where to listen, such as 127.0.0.1:8080 or unix:/run/a.sock."`
	Driver string   `placeholder:"NAME" help:"How the kernel tells of connections: see myriad drivers."`
	Model  string   `placeholder:"NAME" help:"Who runs which connection: see myriad models."`
	Loops  string   `placeholder:"N" help:"How many event loops, or auto."`

	Processes    string `placeholder:"N" help:"How many worker processes; 0 serves in this one."`
	ProcessModel string `placeholder:"NAME" help:"How connections come to worker processes: see myriad models."`

	Config string   `placeholder:"FILE" help:"The configuration; flags win over it."`
	Admin  string   `placeholder:"ADDR" help:"Where the admin API listens: unix:PATH, 127.0.0.1:PORT, auto or off."`
	Set    []string `sep:"none" placeholder:"KEY=VALUE" help:"Set any key, such as timeouts.idle=15m."`
}

// cutShort is how long the end may take after a second signal.
const cutShort = time.Second

// run serves until a signal, by the configuration, the overrides of a command, and the flags that all commands have.
func (f *serverFlags) run(c console, overrides []config.Override) error {
	if text := os.Getenv(keptVariable); text != "" {
		return f.follow(c, overrides, text)
	}
	next, err := enter()
	switch {
	case err != nil:
		return err
	case proc.IsChild() && os.Getenv(rehearsalVariable) != "":
		return f.rehearse(overrides)
	case next.before == nil && proc.IsChild():
		return f.runWorker(c, overrides)
	}
	return next.fail(f.runAlone(c, overrides, next))
}

// runAlone serves in this process, or supervises those that do.
func (f *serverFlags) runAlone(c console, overrides []config.Override, next *succession) error {
	passed, err := proc.Activated()
	if err != nil {
		return fmt.Errorf("the sockets of the service manager: %w", err)
	}
	loaded, warnings, err := app.Known().Load(f.Config, append(overrides, f.overrides()...))
	if err != nil {
		return usage(err)
	}
	level := new(slog.LevelVar)
	log := logger(c.err, &loaded.Log, level)
	for _, w := range warnings {
		log.Warn(w.Message, "key", w.Path, "where", w.Where(), "fix", w.Mend)
	}
	host, err := app.Examine()
	if err != nil {
		return err
	}
	host.Keep(next.held)
	plan, err := app.NewPlan(loaded, host)
	if err != nil {
		return err
	}
	if loaded.Engine.Processes > 0 && next.before == nil {
		return f.supervise(overrides, passed, level, log)
	}
	if next.adminLent, err = plan.Activate(passed); err != nil {
		return err
	}
	again := func() (*app.Plan, error) {
		source, err := f.source(overrides)
		return source.Plan, err
	}
	var left func(string) (int, bool)
	if next.before != nil {
		left = next.before.File
	}
	service, err := openService(loaded, log, left)
	if err != nil {
		return err
	}
	defer service.close()
	o := app.Options{
		Version: version, Log: log, Plan: again, Ready: func(*app.App) { service.ready("serves") },
	}
	if err := next.inherit(plan, &o); err != nil {
		return err
	}
	server, err := app.New(plan, o)
	if err != nil {
		return err
	}
	admin, err := startAdmin(server, loaded.Admin, next.adminLent, level, log)
	if err != nil {
		return err
	}
	adviseAtStart(loaded, log)
	next.server, next.admin, next.service = server, admin, service
	return errors.Join(serveUntilSignal(server, log, next), admin.Close())
}

// source reads and plans the configuration.
func (f *serverFlags) source(overrides []config.Override) (source supervise.Source, err error) {
	source.Name = f.Config
	if f.Config != "" {
		text, err := config.Read(f.Config)
		if err != nil {
			return source, err
		}
		source.Text = []byte(text)
	}
	return f.plan(source, overrides)
}

// plan plans a source that was read.
func (f *serverFlags) plan(source supervise.Source, overrides []config.Override) (supervise.Source, error) {
	loaded, _, err := app.Known().Parse(source.Name, string(source.Text), append(overrides, f.overrides()...))
	if err != nil {
		return source, err
	}
	host, err := app.Examine()
	if err != nil {
		return source, err
	}
	source.Plan, err = app.NewPlan(loaded, host)
	return source, err
}

// startAdmin starts the admin API, if there is to be one, at a socket that was lent, if that is not 0. A place that
// nobody has named is none to fail for.
func startAdmin(server *app.App, at config.AutoOrOffOrAddress, lent int, level *slog.LevelVar, log *slog.Logger,
) (*control.Server, error) {
	admin := control.New(server, level)
	admin.Lend(lent)
	if at.Off {
		return admin, nil
	}
	mountPages(admin)
	address, err := admin.Start(at)
	switch {
	case err == nil:
		log.Info("admin API", "address", address)
	case at.Auto():
		log.Warn("there is no admin API", "error", err)
	default:
		return nil, err
	}
	return admin, nil
}

// listeners is what --listen says, or fallback where it is not given, for listeners that speak the protocol and, if it
// is not http, pass it on to an upstream.
func (f *serverFlags) listeners(fallback string, protocol config.Protocol, upstream string) []config.Override {
	addresses, flag := f.Listen, "--listen "+strings.Join(f.Listen, " --listen ")
	if len(addresses) == 0 {
		if fallback == "" {
			return nil
		}
		addresses, flag = []string{fallback}, "without --listen"
	}
	var listeners []config.Listener
	for _, address := range addresses {
		if protocol == config.StreamUDP && !strings.HasPrefix(address, "unix:") && !strings.Contains(address, "://") {
			address = "udp://" + address
		}
		l := config.Listen(address)
		l.Protocol, l.Upstream = protocol, upstream
		listeners = append(listeners, l)
	}
	return []config.Override{{Flag: flag, Path: "listeners", Value: listeners}}
}

// overrides is what the flags that all commands have say, in the order of their effect: --set comes last.
func (f *serverFlags) overrides() []config.Override {
	var overrides []config.Override
	for _, flag := range []struct{ name, path, value string }{
		{"--driver", "engine.driver", f.Driver},
		{"--model", "engine.model", f.Model},
		{"--loops", "engine.loops", f.Loops},
		{"--processes", "engine.processes", f.Processes},
		{"--process-model", "engine.process_model", f.ProcessModel},
		{"--admin", "admin", f.Admin},
	} {
		if flag.value != "" {
			overrides = append(overrides, config.Override{
				Flag: flag.name + " " + flag.value, Path: flag.path, Value: flag.value,
			})
		}
	}
	for _, text := range f.Set {
		overrides = append(overrides, config.SetFlag(text))
	}
	return overrides
}

// sets tells whether --set says anything about one of the keys or below it.
func (f *serverFlags) sets(keys ...string) bool {
	for _, text := range f.Set {
		for _, key := range keys {
			if strings.HasPrefix(text, key) {
				return true
			}
		}
	}
	return false
}

// logger is where the server speaks about itself.
func logger(w io.Writer, c *config.Log, level *slog.LevelVar) *slog.Logger {
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration has been checked: it is one of slog's names
	options := &slog.HandlerOptions{Level: level}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// serveUntilSignal serves until SIGINT or SIGTERM and drains; a second signal ends the drain at once. A client, or
// the reader of a log, that goes away must not end the server: writing to it then fails, and nothing more. SIGHUP and
// SIGUSR1 reopen the access log, also while it drains, and SIGHUP has the configuration read again. After SIGUSR2 a new
// process takes over.
func serveUntilSignal(server *app.App, log *slog.Logger, next *succession) error {
	signal.Ignore(syscall.SIGPIPE)
	rotations := make(chan os.Signal, 1)
	signal.Notify(rotations, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() { // it ends with the process, because a signal without a listener would be the end of that
		for s := range rotations {
			if s == syscall.SIGUSR2 {
				go next.signalled()
				continue
			}
			if reopenLog(server, log, s); s == syscall.SIGHUP {
				next.service.reloading()
				next.service.reloaded(reload(server, log, s))
			}
		}
	}()
	next.service.watch(server.Turn)
	return serveUntilStop(server, log, stopSignals(), next.handed, next.service.stopping)
}

// serveUntilStop serves until a signal or until drain is closed, says that it stops, and drains; the next signal ends
// the drain at once.
func serveUntilStop(server *app.App, log *slog.Logger, signals <-chan os.Signal, drain <-chan struct{}, stopping func(),
) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	kill, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- server.Serve(ctx, kill) }()
	var first os.Signal
	select {
	case err := <-done:
		return err
	case first = <-signals:
		log.Info("stopping", "signal", first.String())
	case <-drain:
		log.Info("stopping")
	}
	stopping()
	stop()
	var second os.Signal
	select {
	case err := <-done:
		if err == nil {
			log.Info("stopped")
		}
		return err
	case second = <-signals:
	}
	close(kill)
	select {
	case err := <-done:
		if err != nil {
			log.Error("stopped", "error", err)
		}
	case <-time.After(cutShort):
		log.Error("the connections could not be closed in time")
	}
	number := 0
	if n, ok := second.(syscall.Signal); ok {
		number = int(n)
	}
	return coded{fmt.Errorf("cut short by a second signal (%s)", second), 128 + number}
}

// reopenLog acts on a signal that says that the access log was moved away. Administrators are used to one or the other,
// and either would kill a server that knows only its own.
func reopenLog(server *app.App, log *slog.Logger, s os.Signal) {
	switch path, err := server.ReopenLog(); {
	case err != nil:
		log.Error("the access log could not be reopened: lines go on into the old file", "signal", s.String(),
			"error", err, "fix", "let the user of the server write to the directory, and send the signal again")
	case path == "":
		log.Info("there is no file of the access log to reopen", "signal", s.String())
	default:
		log.Info("reopened the access log", "signal", s.String(), "path", path)
	}
}
