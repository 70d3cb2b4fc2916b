package main

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/supervise"
)

// busCommand is the process beside the workers that is the bus. Only a supervisor starts it.
type busCommand struct{}

// Run serves the bus until the supervisor has it end, or has ended itself.
func (*busCommand) Run(c console) error {
	own, err := supervise.Join(0) // it has no loops
	if err != nil {
		return fmt.Errorf("the bus is started by a server with worker processes: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), supervise.SignalDrain, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-own.Orphaned()
		cancel()
	}()
	err = own.ServeBus(ctx, slog.New(slog.NewTextHandler(c.err, nil)))
	if err != nil {
		_ = own.Fail(err) // it is heard where it comes before readiness, and logged in any case
	}
	return err
}

// busLetter is the name of what workers inherit where there is a bus: a busPlace.
const busLetter = "bus-place"

// busPlace is how workers get to the bus of their supervisor.
type busPlace struct {
	URLs  []string
	Token string
}

// startBus runs the bus that the configuration asks for, if it asks for one. end ends it, after the workers.
func (s *supervisor) startBus(c *config.Config) (end func(), err error) {
	o, err := app.OwnBus(c)
	if o == nil || err != nil {
		return func() {}, err
	}
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := s.command(sameBinary)
	command.Args = []string{"bus"}
	at, stop, err := supervise.StartBus(ctx, *o, command, s.log, nil)
	if err != nil {
		return nil, err
	}
	if s.bus, err = bus.Seal(busPlace{at.URLs, at.Token}); err != nil {
		stop()
		return nil, err
	}
	return func() {
		stop()
		_ = s.bus.Close() // it was only read
	}, nil
}

// bus is how this worker gets to the bus of its supervisor; nil: it has none.
func (w *worker) bus() (*bus.Options, error) {
	fd, is := w.member.File(busLetter)
	if !is {
		return nil, nil
	}
	var p busPlace
	if err := bus.Unseal(fd, &p); err != nil {
		return nil, err
	}
	return &bus.Options{URLs: p.URLs, Token: p.Token}, nil
}
