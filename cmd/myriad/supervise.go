package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// supervisor is the process above the workers. It serves no connection itself.
type supervisor struct {
	log     *slog.Logger
	fleet   *supervise.Fleet
	service *service
	bus     *os.File // the letter that says how to get to the bus; nil: there is none
	config  *config.Config
	level   *slog.LevelVar
	admin   *control.Server
	lent    bool // the socket of the admin API is a service manager's
	turn    int  // how many programs this process has been before

	mu     sync.Mutex
	next   string // the program that it is to go on as; empty: none
	coming string // the version of that
	stays  string // why it has not gone on as the last one
}

// supervise keeps worker processes that serve, until a signal.
func (f *serverFlags) supervise(overrides []config.Override, passed []proc.Named, level *slog.LevelVar,
	log *slog.Logger,
) error {
	s := &supervisor{log: log, level: level}
	signals := make(chan os.Signal, 16)
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(signals, supervise.Listened()...)
	source, err := f.source(overrides)
	if err != nil {
		return usage(err)
	}
	adminLent, err := source.Plan.Activate(passed)
	if err != nil {
		return err
	}
	for _, warning := range source.Plan.Warnings {
		log.Warn(warning)
	}
	if s.service, err = openService(source.Plan.Config, log, nil); err != nil {
		return err
	}
	defer s.service.close()
	end, err := s.startBus(source.Plan.Config)
	if err != nil {
		return err
	}
	defer end()
	if err := s.newFleet(f, source, overrides, nil); err != nil {
		return err
	}
	defer s.fleet.Close()
	s.lent = adminLent > 0
	if err := s.startAdmin(source.Plan.Config, adminLent); err != nil {
		return err
	}
	defer s.closeAdmin()
	adviseAtStart(source.Plan.Config, log)
	return s.run(signals)
}

// newFleet makes the fleet, or goes on with the one that was kept.
func (s *supervisor) newFleet(
	f *serverFlags, source supervise.Source, overrides []config.Override, kept *supervise.Kept,
) (err error) {
	s.config = source.Plan.Config
	s.fleet, err = supervise.NewFleet(supervise.FleetOptions{
		Source: source, Load: func() (supervise.Source, error) { return f.source(overrides) },
		Command: func() proc.Command { return s.command(sameBinary) }, Log: s.log, Ready: s.ready,
		Stopping: s.service.stopping, Kept: kept,
	})
	return err
}

// sameBinary is the program that this process runs, also when its file was replaced.
const sameBinary = "/proc/self/exe"

// command starts a worker of a binary, with the arguments of this process.
func (s *supervisor) command(path string) proc.Command {
	c := proc.Command{
		Path: path, Name: os.Args[0], Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, OwnGroup: true,
	}
	if s.bus != nil {
		c.Files = []proc.Named{{Name: busLetter, FD: int(s.bus.Fd())}}
	}
	return c
}

// ready says where the workers listen, when all serve.
func (s *supervisor) ready() {
	// It is called within the fleet, which answers when this has returned.
	go func() {
		urls, warnings := s.fleet.URLs()
		for _, warning := range warnings {
			s.log.Warn(warning)
		}
		for _, url := range urls {
			s.log.Info("listening", "url", url)
		}
		s.log.Info("serving")
		s.service.ready("serves")
		s.service.watch(func() error {
			_, err := s.fleet.Status(context.Background())
			return err
		})
	}()
}

// run keeps the workers until a signal has ended them. A second one is obeyed at once, and is the exit code.
func (s *supervisor) run(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	obeyed, passed := make(chan os.Signal), make(chan struct{})
	var second os.Signal
	go func() {
		defer close(passed)
		second = pass(ctx, signals, obeyed)
	}()
	go s.fleet.Obey(ctx, obeyed, s.prepare)
	err := s.fleet.Run(ctx)
	cancel()
	<-passed
	if number, cut := second.(syscall.Signal); cut {
		return coded{fmt.Errorf("cut short by a second signal (%s)", second), 128 + int(number)}
	}
	return err
}

// pass passes signals on until ctx ends. second is the one that came when the end had been asked for already.
func pass(ctx context.Context, signals <-chan os.Signal, to chan<- os.Signal) (second os.Signal) {
	ending := false
	for {
		var got os.Signal
		select {
		case got = <-signals:
		case <-ctx.Done():
			return second
		}
		if c, known := supervise.CommandOf(got); known && (c == supervise.Quit || c == supervise.Terminate) {
			if ending && c == supervise.Terminate && second == nil {
				second = got
			}
			ending = true
		}
		select {
		case to <- got:
		case <-ctx.Done():
			return second
		}
	}
}

// prepare carries out the commands that need something new.
func (s *supervisor) prepare(ctx context.Context, c supervise.Command) error {
	switch c {
	case supervise.Reopen:
		s.fleet.Reopen()
		return nil
	case supervise.Reload:
		s.fleet.Reopen()
		s.service.reloading()
		_, err := s.fleet.Reload(ctx, false)
		s.service.reloaded(err)
		return err
	case supervise.Upgrade:
		return s.upgrade(ctx, "")
	}
	return fmt.Errorf("nothing is prepared for %s", c)
}
