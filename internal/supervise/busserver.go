package supervise

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
)

// BusName is that of the crew that is the server of the bus, and of its letter.
const BusName = "bus"

// StartBus runs the server of a bus as a process, which calls ServeBus, and starts it anew when it dies, at the same
// address, which is kept for it meanwhile; where o leaves it open it is some port of the loopback interface. at is how
// the workers get there; the token is a random one if o has none. end ends it, after its last client. watch may be nil.
// When ctx ends before the bus is ready, the error says what became of its processes.
func StartBus(ctx context.Context, o bus.ServerOptions, command proc.Command, log *slog.Logger,
	watch func(crew string, e Event),
) (at bus.Options, end func(), err error) {
	if o.Token == "" {
		o.Token = rand.Text()
	}
	if !o.Listen.IsValid() {
		o.Listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	kept, err := bus.Reserve(o.Listen)
	if err != nil {
		return at, nil, err
	}
	o.Listen = kept.Address
	at = bus.Options{URLs: []string{"nats://" + kept.Address.String()}, Token: o.Token}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // it is needed until the last worker has ended
	var last atomic.Pointer[string]                                 // what was told of a process that has failed
	crew, err := Enlist(running, CrewOptions{
		Name: BusName, Letter: o, Count: 1, Command: command, Log: log,
		Watch: func(crew string, e Event) {
			if e.Text != "" {
				last.Store(&e.Text)
			}
			if watch != nil {
				watch(crew, e)
			}
		},
	})
	if err != nil {
		stop()
		kept.Close()
		return at, nil, err
	}
	end = sync.OnceFunc(func() {
		stop()
		if err := <-crew.Ended; err != nil {
			log.Error("the bus did not end well", "error", err)
		}
		kept.Close()
	})
	select {
	case <-crew.Ready:
		return at, end, nil
	case <-ctx.Done():
		end()
		err = fmt.Errorf("the bus does not start: %w", ctx.Err())
		if why := last.Load(); why != nil {
			err = fmt.Errorf("%w: %s", err, *why)
		}
		return at, nil, err
	}
}

// ServeBus is the server of a bus until ctx ends, in a process that StartBus has started.
func (m *Member) ServeBus(ctx context.Context, log *slog.Logger) error {
	fd, is := m.File(BusName)
	if !is {
		return errors.New("this process was not started to be a bus")
	}
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
	if err := m.Ready(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
