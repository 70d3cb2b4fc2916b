package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/standard"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/web"
)

// hosting serves connections that may come from another process, and go on in another. It is what myriad.Server is to
// those who need neither.
type hosting struct {
	address string
	group   *listen.Group
	handler func() conn.Handler
	site    serve.Site
	log     *slog.Logger
	serving chan struct{} // closed when steering can be used

	steering serve.Steering

	mu   sync.Mutex
	sets []*meter.Set // of the loops
}

// The sizes of a server, and how long its end may take.
const (
	blockBytes  = 16 << 10
	blocks      = 4096
	outputBytes = 1 << 20
	drain       = 30 * time.Second
)

// listenOn is what a chat listens with: sockets that several loops and processes can have each one of.
func listenOn(address string) (listen.Spec, error) {
	spec, err := listen.Parse(address)
	if err == nil && spec.Network != "tcp" {
		err = errors.New("an address of TCP is wanted")
	}
	spec.Backlog, spec.NoDelay, spec.ReusePort = 4096, true, true
	return spec, err
}

// newHost makes a server of h that listens with the sockets of a group, one for each loop.
func newHost(h web.Handler, p *place, group *listen.Group, loops int, log *slog.Logger) (*hosting, error) {
	descriptors, _, err := sys.RaiseDescriptors()
	if err != nil {
		return nil, err
	}
	s := &hosting{address: p.Listen, group: group, handler: (&web.Server{Root: h}).Handler, log: log}
	s.serving = make(chan struct{})
	s.site = serve.Site{
		Listeners: []serve.Listener{s.listener(group)},
		Limits: serve.Limits{
			Loops: loops, Connections: int(min(descriptors, 1<<24) / 10 * 9),
			BlockBytes: blockBytes, Blocks: blocks, OutputBytes: outputBytes, Drain: drain,
		},
		Steer: func(t serve.Steering) { s.steering = t; close(s.serving) },
		Meter: func(_ int, set *meter.Set) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sets = append(s.sets, set)
		},
		Log: log,
	}
	s.site.Driver, _, err = standard.Driver(p.Driver)
	return s, err
}

func (s *hosting) listener(g *listen.Group) serve.Listener {
	return serve.Listener{Name: s.address, Network: "tcp", Open: g.Open, Closed: g.Closed, Handler: s.handler}
}

// serve serves until ctx is done. ready is called when people can come.
func (s *hosting) serve(ctx context.Context, ready func()) error {
	defer s.group.Close()
	model, err := standard.Model("reactor")
	if err != nil {
		return err
	}
	s.site.Ready = ready
	return model.Serve(ctx, &s.site)
}

// open is how many connections there are.
func (s *hosting) open() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets {
		n += set.Snapshot()[meter.Open]
	}
	return n
}

// take goes on with the connections of the process at the other end of a channel, which is told give, while this one
// serves.
func (s *hosting) take(ctx context.Context, channel *proc.Channel) (taken int, err error) {
	select {
	case <-s.serving:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	hello := handover.Hello{Program: "chat", Listeners: []string{s.address}}
	if _, _, err := handover.Ask(ctx, channel, hello); err != nil {
		return 0, err
	}
	return handover.Receive(ctx, channel, s.steering.ArriveMany, nil)
}

const (
	emptyTick = 10 * time.Millisecond // the loops tell nobody that they are empty
	leaveTime = drain / 2             // what has not left by then ends as at a stop
)

// give has the connections go on in the process at the other end of a channel, which is told take. With an error this
// one goes on with what the other has not acknowledged, and listens as before. abandon, if set, ends the other one.
func (s *hosting) give(ctx context.Context, channel *proc.Channel, abandon func()) (handover.Tally, error) {
	_, err := handover.Answer(ctx, channel, "chat", func(*handover.Hello) ([]handover.Socket, error) {
		return nil, errors.New("the sockets were inherited")
	})
	if err != nil {
		return handover.Tally{}, err
	}
	kept, err := s.group.Copies()
	if err != nil {
		return handover.Tally{}, err
	}
	sender := handover.NewSender(channel, handover.Options{
		Place: func(int) (int, bool) { return 0, true }, Back: s.comeBack, Patience: drain, Abandon: abandon,
	})
	stop, err := s.steering.Depart(serve.Departure{Room: sender.Room, Take: sender.Take})
	if err == nil {
		s.await(ctx, sender)
		stop()
	}
	tally, failed := sender.Finish()
	if err := errors.Join(err, failed); err != nil {
		return tally, errors.Join(err, s.again(kept))
	}
	closeAll(kept)
	return tally, nil
}

// await waits until nobody is left, or there is no use in waiting.
func (s *hosting) await(ctx context.Context, sender *handover.Sender) {
	limit, look := time.NewTimer(leaveTime), time.NewTicker(emptyTick)
	defer limit.Stop()
	defer look.Stop()
	for sender.Failed() == nil && (s.open() > 0 || sender.UnderWay() > 0) {
		select {
		case <-look.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// comeBack goes on with connections that the other process has not taken.
func (s *hosting) comeBack(parcels []*conn.Parcel, why error) {
	for i, err := range s.steering.ArriveMany(parcels) {
		if err != nil {
			s.log.Error("a connection is lost", "cause", err, "refused", why)
			handover.Close(parcels[i])
		}
	}
}

// again listens with sockets that were kept, as a hand-over has failed.
func (s *hosting) again(kept []int) error {
	group := listen.Succeeding(s.group.Spec(), kept)
	if _, err := s.steering.Listen(s.listener(group)); err != nil {
		group.Close()
		return err
	}
	s.group = group
	return nil
}
