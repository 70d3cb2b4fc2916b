package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// The names of what children inherit, which tell them what they are.
const (
	busLetter  = "bus"  // the bus.ServerOptions of a child that is the bus
	roomLetter = "room" // the place of a worker
)

// watch is told what happens to the processes of a crew.
type watch func(crew string, e supervise.Event)

// crew is processes of one kind, which a supervisor keeps running.
type crew struct {
	*supervise.Supervisor
	board  *proc.Board
	letter *os.File
	ready  chan struct{} // closed when all of them have been ready once
	ended  chan error
}

// enlist starts so many processes, which inherit a letter by its name, and keeps them until ctx ends.
func enlist(ctx context.Context, name string, letter any, count int, log *slog.Logger, watch watch,
) (*crew, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &crew{ready: make(chan struct{}), ended: make(chan error, 1)}
	if c.letter, err = bus.Seal(letter); err != nil {
		return nil, err
	}
	policy, waited := supervise.Sensible(count), count
	if c.board, err = proc.NewBoard(policy.Slots, 1); err != nil {
		_ = c.letter.Close()
		return nil, err
	}
	c.Supervisor, err = supervise.New(supervise.Options{
		Policy: policy, Board: c.board, Log: log.With("crew", name),
		Launch: func(supervise.Place) (proc.Command, error) {
			return proc.Command{
				Path: path, Stdout: os.Stdout, Stderr: os.Stderr, OwnGroup: true,
				Files: []proc.Named{{Name: name, FD: int(c.letter.Fd())}},
			}, nil
		},
		Notify: func(e supervise.Event) {
			if e.Kind == supervise.WorkerReady {
				if waited--; waited == 0 {
					close(c.ready)
				}
			}
			if watch != nil {
				watch(name, e)
			}
		},
	})
	if err != nil {
		c.close()
		return nil, err
	}
	go func() {
		err := c.Run(ctx)
		c.close()
		c.ended <- err
	}()
	return c, nil
}

func (c *crew) close() {
	c.board.Close()
	_ = c.letter.Close() // it was only read
}

// supervise serves with worker processes until ctx is done. The bus is a process beside them, unless there is one
// already: what one of them does wrong is not the end of the others. watch, if it is not nil, is told of all.
func (s *serving) supervise(ctx context.Context, log *slog.Logger, watch watch) error {
	room := s.place
	if s.Bus == "" {
		end, err := s.startBus(ctx, &room, log, watch)
		if err != nil {
			return err
		}
		defer end()
	}
	workers, err := enlist(ctx, roomLetter, room, s.Workers, log, watch)
	if err != nil {
		return err
	}
	select {
	case <-workers.ready:
		log.Info("open for everybody", "page", "http://"+s.Listen+"/", "workers", s.Workers)
	case err := <-workers.ended:
		return err
	}
	return <-workers.ended
}

// startBus starts the bus as a process, and writes into the letter of the workers where it is.
func (s *serving) startBus(ctx context.Context, room *place, log *slog.Logger, watch watch,
) (end func(), err error) {
	token := s.Token
	if token == "" && s.Offer == "" && s.Cluster == "" {
		token = rand.Text()
	}
	o, remove, err := s.options(token)
	if err != nil {
		return nil, err
	}
	if !o.Listen.IsValid() {
		o.Listen = anyPort
	}
	kept, err := bus.Reserve(o.Listen)
	if err != nil {
		remove()
		return nil, err
	}
	o.Listen = kept.Address
	room.Bus, room.Token = "nats://"+kept.Address.String(), token
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // it is needed until the last worker has ended
	own, err := enlist(running, busLetter, o, 1, log, watch)
	if err != nil {
		stop()
		kept.Close()
		remove()
		return nil, err
	}
	end = sync.OnceFunc(func() {
		stop()
		if err := <-own.ended; err != nil {
			log.Error("the bus did not end well", "error", err)
		}
		kept.Close()
		remove()
	})
	select {
	case <-own.ready:
		return end, nil
	case <-ctx.Done():
		end()
		return nil, ctx.Err()
	}
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
	err = errors.New("it was started for nothing")
	if fd, is := own.File(busLetter); is {
		err = serveBus(ctx, fd, own, log)
	} else if fd, is := own.File(roomLetter); is {
		err = serveRooms(ctx, fd, own, log)
	}
	if err != nil {
		return errors.Join(err, own.Fail(err)) // it is heard when this comes before Ready
	}
	return nil
}

func serveBus(ctx context.Context, fd int, own *supervise.Member, log *slog.Logger) error {
	var o bus.ServerOptions
	if err := bus.Unseal(fd, &o); err != nil {
		return err
	}
	o.Log = log
	s, err := bus.Serve(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := own.Ready(); err != nil {
		return err
	}
	<-ctx.Done()
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
