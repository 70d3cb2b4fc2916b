// Package app makes a running server of a configuration: routes become a web server, listeners become sockets, the
// engine's keys become a driver and a model, and the limits become what this machine can hold.
//
// [Plan] decides all of it without opening anything, so that "myriad check" and "myriad serve" cannot disagree. [New]
// opens what a plan needs besides sockets, and [App.Serve] serves until its context ends.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/observe"
	"github.com/myriad-server/myriad/serve"
)

// Options is what a server is given besides its configuration.
type Options struct {
	// Version is that of the program, for the status document.
	Version string
	// Log is where the server speaks about itself.
	Log *slog.Logger
	// Ready, if set, is called once, when every listener is being served.
	Ready func(a *App)
	// Plan, if set, plans anew what the plan came from, for Again.
	Plan func() (*Plan, error)
	// Upgrade, if set, starts a successor and calls App.Upgrade with it, for UpgradeTo.
	Upgrade func(ctx context.Context, path string) (*Moved, error)
	// Worker says that the process above opens the listening sockets, and Given are those for the plan. They belong to
	// the server, also if New fails. Without Worker they are of the process that this one is to follow.
	Worker bool
	Given  []Given
	// Seat is which of the workers this one is, and Awaits are the seats whose sockets another process serves yet, which
	// is to hand over: see TakeOn, TakeOver and Lead. Until then datagrams are left to that one. Without Worker there is
	// seat 0.
	Seat   int
	Awaits []int
	// Admin is a listening socket for the admin API; 0: there is none.
	Admin int
	// Bus is how to reach the bus that the process above runs; nil: what the configuration says.
	Bus *bus.Options
}

// App is a server: what its configuration became, and what stays when that changes.
type App struct {
	current  atomic.Pointer[generation]
	options  Options
	started  time.Time
	counters observe.Counters
	access   *observe.AccessLog // nil: nothing is logged
	logFile  *observe.LogFile   // nil: it is not logged to a file
	closers  []func() error
	site     serve.Site
	roll     roll
	sight    sight

	reloads  sync.Mutex // one at a time
	steering serve.Steering
	fates    fates

	giving sync.Mutex
	given  []Given // sockets that no listener has taken yet

	upgrading atomic.Bool
	upgrades  sync.WaitGroup
	ending    context.Context // done when the stop begins
	end       context.CancelFunc
	halfway   atomic.Bool // connections have been handed over, and half of the drain is over
}

// New makes a server of a plan. It opens no listening socket yet.
func New(p *Plan, o Options) (*App, error) {
	a := &App{options: o, started: time.Now(), given: o.Given}
	a.ending, a.end = context.WithCancel(context.Background())
	g := &generation{App: a, plan: p}
	a.current.Store(g)
	a.openSight()
	if err := a.openAccessLog(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.site = serve.Site{
		Driver:  p.Driver,
		Options: p.driverOptions(),
		Accept:  p.Accept,
		Spread:  p.Spread,
		Limits:  p.limits(),
		Meter:   a.counters.Worker,
		Roster:  a.roll.enroll,
		Steer:   func(s serve.Steering) { a.steering = s },

		Recording: g.recording(),
		Log:       slog.New(pauses{o.Log.Handler(), p.Capacity.Limiter}),
	}
	if o.Worker && slices.ContainsFunc(o.Given, func(g Given) bool { return g.Lent }) {
		a.site.Options.Shared = true // the other workers accept from the same one
	}
	for i := range p.Config.Listeners {
		_, l, err := g.listener(i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listeners[%d]: %w", i, err), a.close())
		}
		a.site.Listeners = append(a.site.Listeners, l)
	}
	if err := a.openBus(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	for i := range a.site.Listeners {
		l := &a.site.Listeners[i]
		l.Paused = l.Datagram != nil && slices.Contains(o.Awaits, o.Seat)
	}
	return a, nil
}

// Serve serves until ctx ends and the connections have drained, as serve.Model describes. Closing kill ends the drain.
func (a *App) Serve(ctx context.Context, kill <-chan struct{}) error {
	a.announce()
	site := a.site
	site.Ready = func() {
		a.ready()
		if a.options.Ready != nil {
			a.options.Ready(a)
		}
	}
	defer context.AfterFunc(ctx, a.end)()
	stopped, err := a.serve(ctx, &site, kill)
	a.end()
	a.report(stopped)
	a.upgrades.Wait() // a new process that is not to be is gone behind it
	return errors.Join(err, a.close())
}

// close gives back what New opened. The sockets are the model's, and closed already.
func (a *App) close() error {
	a.end()
	a.Ungive()
	errs := []error{a.fates.end(), a.now().close(nil)}
	for _, end := range slices.Backward(a.closers) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// accessLogEnd is how long the end of the server waits for the last lines of the access log.
const accessLogEnd = 2 * time.Second

// openAccessLog starts the access log, if there is to be one.
func (a *App) openAccessLog() error {
	c := &a.now().plan.Config.AccessLog
	if c.Format == config.AccessOff {
		return nil
	}
	o := observe.AccessOptions{Format: observe.JSON, Output: os.Stdout, Log: a.options.Log}
	if c.Format == config.AccessCombined {
		o.Format = observe.Combined
	}
	if c.Path != "" {
		file, err := observe.OpenLogFile(c.Path)
		if err != nil {
			return fmt.Errorf("the access log cannot be opened: %w", err)
		}
		a.logFile, o.Output = file, file
	}
	a.access = observe.NewAccessLog(o)
	a.closers = append(a.closers, a.closeAccessLog)
	return nil
}

// closeAccessLog ends the access log. Lines that were lost are told, and are no failure of the server: it has served,
// and has ended as it was asked to.
func (a *App) closeAccessLog() error {
	err := a.access.Close(accessLogEnd)
	if a.logFile != nil && !errors.Is(err, observe.ErrStuck) { // one that is stuck in a write cannot be closed
		err = errors.Join(err, a.logFile.Close())
	}
	if lost := a.access.Dropped(); lost > 0 || err != nil {
		a.options.Log.Error("lines of the access log are lost", "lines_lost_in_all", lost, "error", err,
			"path", a.now().plan.Config.AccessLog.Path)
	}
	return nil
}

// ReopenLog opens the access log's file anew, for when it has been moved away. The path is empty if there is no file;
// on an error lines go on into the old one. It may be called at any time, from any goroutine.
func (a *App) ReopenLog() (path string, err error) {
	if a.logFile == nil {
		return "", nil
	}
	return a.logFile.Path(), a.logFile.Reopen()
}

// announce says what was decided, before anything is opened.
func (a *App) announce() {
	log, p := a.options.Log, a.now().plan
	for _, passed := range p.Passed {
		log.Info("driver passed over", "driver", passed.Name, "why", passed.Support.Why, "fix", passed.Support.Fix)
	}
	for _, unused := range p.Unused {
		log.Warn(unused.Message, "key", unused.Path, "where", unused.Where(), "fix", unused.Mend)
	}
	for _, warning := range p.Warnings {
		log.Warn(warning)
	}
	log.Log(context.Background(), a.aloud(), "capacity", p.Capacity.attributes()...)
}

// ready says where the server listens.
func (a *App) ready() {
	for _, f := range a.now().fronts {
		a.listening(f)
	}
	a.options.Log.Log(context.Background(), a.aloud(), "serving", a.now().plan.attributes()...)
}

// listening says where one listener is.
func (a *App) listening(f *front) {
	if warning := f.group.Warning(); warning != "" {
		a.options.Log.Warn(warning)
	}
	a.options.Log.Log(context.Background(), a.aloud(), "listening", "url", f.url())
}

// aloud is how loud the server says what the process above its workers says for all of them.
func (a *App) aloud() slog.Level {
	if a.options.Worker {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// URLs are where the server listens, in the order of the listeners; with their ports once it is ready.
func (a *App) URLs() []string {
	var urls []string
	for _, f := range a.now().fronts {
		urls = append(urls, f.url())
	}
	return urls
}

func (f *front) url() string { return url(f.config.Protocol, f.group.Spec()) }

// url is what a client would call a listener.
func url(protocol config.Protocol, s listen.Spec) string {
	if protocol == config.HTTP && s.Network == "tcp" {
		return "http://" + s.Address.String()
	}
	if s.Network == "tcp" {
		return "tcp://" + s.Address.String()
	}
	return s.String()
}
