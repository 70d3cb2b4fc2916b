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
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// roomLetter is the name of what workers inherit: their place.
const roomLetter = "room"

// supervise serves with worker processes until ctx is done. The bus is a process beside them, unless there is one
// already: what one of them does wrong is not the end of the others. What comes from upgrade has new workers go on, one
// after the other. watch, if it is not nil, is told of all.
func (s *serving) supervise(ctx context.Context, log *slog.Logger, upgrade <-chan os.Signal,
	watch func(crew string, e supervise.Event),
) error {
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
	spec, err := listenOn(s.Listen)
	if err != nil {
		return err
	}
	sockets := listen.NewGroup(spec) // they are here so that who waits at one outlives a worker
	defer sockets.Close()
	seats := make([][]proc.Named, s.Workers)
	for seat := range seats {
		fd, err := sockets.Open(seat)
		if err != nil {
			return err
		}
		seats[seat] = []proc.Named{{Name: socketName, FD: fd}}
	}
	workers, err := supervise.Enlist(ctx, supervise.CrewOptions{
		Name: roomLetter, Letter: room, Count: s.Workers, Command: command, Log: log, Watch: watch,
		Files: func(seat int) []proc.Named { return seats[seat] }, Succeeds: true,
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, sockets.Close)() // behind the workers' end nobody would take who waits
	select {
	case <-workers.Ready:
		log.Info("open for everybody", "page", "http://"+s.Listen+"/", "workers", s.Workers)
	case err := <-workers.Ended:
		return err
	}
	for {
		select {
		case <-upgrade:
			if err := workers.Replace(ctx); err != nil && ctx.Err() == nil {
				log.Error("the workers were not replaced", "cause", err)
			}
		case err := <-workers.Ended:
			return err
		}
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
	chat := newChat(log)
	defer chat.close()
	if err := chat.open(ctx, b, p.Copies); err != nil {
		return err
	}
	socket, _ := own.File(socketName)
	spec, err := listenOn(p.Listen)
	if err != nil {
		return err
	}
	h, err := newHost(chat, &p, listen.Inherited(spec, []int{socket}), 1, log)
	if err != nil {
		return err
	}
	w := &worker{Member: own, host: h, log: log}
	ctx, w.end = context.WithCancel(ctx)
	defer w.end()
	return h.serve(ctx, func() { go w.attend(ctx) })
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

// worker is a server that a supervisor has started.
type worker struct {
	*supervise.Member
	host *hosting
	log  *slog.Logger
	end  context.CancelFunc
}

// attend tells that the worker serves, and does what it is told until ctx is done or the supervisor has died.
func (w *worker) attend(ctx context.Context) {
	if err := w.Ready(); err != nil {
		w.log.Error("the supervisor cannot be told", "error", err)
	}
	pulse := proc.NewPulse(w.Slot, time.Hour) // of no loop: they show nothing
	defer pulse.Stop()
	err := w.Attend(ctx, pulse, func(m proc.Message) {
		if m.Kind != supervise.KindOrder {
			m.Close()
			return
		}
		order, whole, err := w.Orders.Add(m)
		switch {
		case err != nil:
			w.log.Error("an order cannot be read", "error", err)
		case whole:
			go w.carryOut(order)
		}
	})
	if ctx.Err() == nil {
		w.log.Warn("the supervisor has ended", "cause", err)
	}
}

// carryOut has people go to another worker, or come from there, and answers.
func (w *worker) carryOut(o supervise.Order) {
	answer := supervise.Answer{ID: o.ID}
	err := w.pass(&o)
	if err != nil {
		answer.Error = err.Error()
	}
	if err := w.Answer(context.Background(), answer); err != nil {
		w.log.Warn("the supervisor does not hear what came of an order", "order", o.Do, "error", err)
	}
	if err == nil && o.Do == supervise.OrderHandOver {
		w.end()
	}
}

func (w *worker) pass(o *supervise.Order) error {
	channel, err := o.Peer()
	if err != nil {
		return err
	}
	if o.Do == supervise.OrderTakeOver {
		go func() {
			defer channel.Close()
			if _, err := w.host.take(context.Background(), channel); err != nil {
				w.log.Warn("another worker has not handed over all that it had", "cause", err)
			}
		}()
		return nil
	}
	defer channel.Close()
	tally, err := w.host.give(context.Background(), channel, nil)
	w.log.Info("another worker goes on", "connections", tally.Moved, "returned", tally.Returned)
	return err
}
