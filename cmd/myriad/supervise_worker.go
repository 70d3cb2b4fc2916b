package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// worker is one worker process of a server that has several.
type worker struct {
	member    *supervise.Member
	overrides []config.Override
	level     *slog.LevelVar
	log       *slog.Logger
	server    *app.App
	stop      chan struct{} // closed when it has to drain
	once      sync.Once
	awaits    []int // the seats whose sockets others served as this worker was started
	processes int   // engine.processes, as this worker was started with
}

// runWorker serves what the supervisor above says, until it is told to end, or the supervisor has died.
func (f *serverFlags) runWorker(c console, overrides []config.Override) error {
	member, err := supervise.Enter()
	if err != nil {
		return err
	}
	w := &worker{member: member, overrides: append(overrides, f.overrides()...), level: new(slog.LevelVar)}
	signals := stopSignals() // before anybody knows of this worker
	w.stop = make(chan struct{})
	if err := w.run(c, signals); err != nil {
		return fmt.Errorf("worker %d: %w", member.Worker, err)
	}
	return nil
}

// run makes the server of the first order, and serves.
func (w *worker) run(c console, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	order, err := w.member.First(ctx)
	if err != nil {
		return w.fail(fmt.Errorf("nothing was said of what to serve: %w", err))
	}
	plan, err := w.plan(&order)
	if err != nil {
		return w.fail(err)
	}
	w.log = logger(c.err, &plan.Config.Log, w.level).With("worker", uint64(w.member.Worker))
	if err := w.member.Claim(plan.Boarded()); err != nil {
		return err
	}
	at, err := w.bus()
	if err != nil {
		return w.fail(err)
	}
	w.awaits = order.Awaits
	ready := make(chan struct{})
	w.server, err = app.New(plan, app.Options{
		Bus:     at,
		Version: version, Log: w.log, Worker: true, Given: order.Sockets, Seat: w.member.Seat, Awaits: order.Awaits,
		Ready: func(*app.App) { close(ready) },
	})
	if err != nil {
		return w.fail(err)
	}
	admin, err := startAdmin(w.server, w.adminPlace(plan.Config), 0, w.level, w.log)
	if err != nil {
		return w.fail(err)
	}
	defer func() { _ = admin.Close() }()
	go w.attend(ctx, ready)
	err = serveUntilStop(w.server, w.log, signals, w.stop, func() { w.member.Slot.SetState(proc.Draining) })
	w.server.ShowLast(w.member.Slot, plan.Boarded())
	return w.fail(err)
}

// fail tells the supervisor why there is no server, if it has not been told yet that there is one.
func (w *worker) fail(err error) error {
	if err != nil {
		_ = w.member.Fail(err)
	}
	return err
}

// plan is that of an order.
func (w *worker) plan(order *supervise.Order) (*app.Plan, error) {
	loaded, _, err := app.Known().Parse(order.Name, string(order.Text), w.overrides)
	if err != nil {
		return nil, err
	}
	host, err := app.Examine()
	if err != nil {
		return nil, err
	}
	host.Keep(order.Held)
	if order.Do == supervise.OrderServe {
		w.processes = loaded.Engine.Processes
	}
	loaded.Engine.Processes = w.processes // how many there are is the supervisor's concern
	if order.Loops > 0 {
		loaded.Engine.Loops = config.CountOrAuto(order.Loops)
	}
	return app.NewPlan(loaded, host)
}

// adminPlace is where the admin API of this worker listens: beside that of its supervisor, for which it answers.
func (w *worker) adminPlace(c *config.Config) config.AutoOrOffOrAddress {
	if c.Admin.Off {
		return c.Admin
	}
	path := workerSocket(w.member.Parent(), w.member.Place.Slot)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.log.Warn("there is no admin API of this worker", "error", err)
		return config.AutoOrOffOrAddress{Off: true}
	}
	return config.AutoOrOffOrAddress{Address: config.Address{Network: config.Unix, Path: path}}
}

// workerSocket is where the worker in a slot of the board has its admin API.
func workerSocket(supervisor, slot int) string {
	return filepath.Join(control.Folder(), strconv.Itoa(supervisor), "worker-"+strconv.Itoa(slot)+".sock")
}

// attend tells that the worker serves, and does what the supervisor orders until it has died: then the worker drains,
// so that another server can have its addresses at once.
func (w *worker) attend(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-ctx.Done():
		return
	}
	if err := w.server.Adopt(w.awaits); err != nil {
		w.log.Error("the sockets of a worker that is gone are not served", "error", err)
	}
	pulse := w.server.Pulse(w.member.Slot)
	defer pulse.Stop()
	if err := w.member.Ready(); err != nil {
		w.log.Warn("the supervisor does not hear that this worker serves", "error", err)
	}
	err := w.member.Attend(ctx, pulse, w.obey)
	if ctx.Err() == nil {
		w.log.Warn("the supervisor has ended: this worker drains", "cause", err)
		w.drain()
	}
}

// stopSignals are those that end a server in good order; a second one at once.
func stopSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	return signals
}
