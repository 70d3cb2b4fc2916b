package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// roomLetter is the name of what workers inherit: their place.
const roomLetter = "room"

// supervise serves with worker processes until ctx is done. The bus is a process beside them, unless there is one
// already: what one of them does wrong is not the end of the others. watch, if it is not nil, is told of all.
func (s *serving) supervise(ctx context.Context, log *slog.Logger, watch func(crew string, e supervise.Event)) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	command := proc.Command{Path: path, Stdout: os.Stdout, Stderr: os.Stderr, OwnGroup: true}
	room := s.place
	if s.Bus == "" {
		o, remove, err := s.options(s.Token)
		if err != nil {
			return err
		}
		defer remove()
		at, end, err := supervise.StartBus(ctx, o, command, log, watch)
		if err != nil {
			return err
		}
		defer end()
		room.Bus, room.Token = at.URLs[0], at.Token
	}
	workers, err := supervise.Enlist(ctx, supervise.CrewOptions{
		Name: roomLetter, Letter: room, Count: s.Workers, Command: command, Log: log, Watch: watch,
	})
	if err != nil {
		return err
	}
	select {
	case <-workers.Ready:
		log.Info("open for everybody", "page", "http://"+s.Listen+"/", "workers", s.Workers)
	case err := <-workers.Ended:
		return err
	}
	return <-workers.Ended
}

// serveAsChild is the bus or a worker, as the letter that was inherited says, until the supervisor wants it to end or
// has ended itself.
func serveAsChild(log *slog.Logger) error {
	own, err := supervise.Join(0) // its loops are within the server, so they show nothing on the board
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), supervise.SignalDrain, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-own.Orphaned()
		cancel()
	}()
	if fd, is := own.File(roomLetter); is {
		err = serveRooms(ctx, fd, own, log)
	} else {
		err = own.ServeBus(ctx, log)
	}
	if err != nil {
		return errors.Join(err, own.Fail(err)) // it is heard when this comes before Ready
	}
	return nil
}

func serveRooms(ctx context.Context, fd int, own *supervise.Member, log *slog.Logger) error {
	var p place
	if err := bus.Unseal(fd, &p); err != nil {
		return err
	}
	b, err := connect(ctx, bus.Options{URLs: []string{p.Bus}, Token: p.Token, Name: "chat", Log: log})
	if err != nil {
		return err
	}
	defer b.Close()
	return p.serve(ctx, b, log, func() {
		if err := own.Ready(); err != nil {
			log.Error("the supervisor cannot be told", "error", err)
		}
	})
}

// connect waits for a bus that is away at the moment: it is started again as a worker is.
func connect(ctx context.Context, o bus.Options) (*bus.Bus, error) {
	const pause = 200 * time.Millisecond
	for {
		b, err := bus.Connect(o)
		if !errors.Is(err, bus.ErrAway) {
			return b, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}
