package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/handover"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// Successor is a process that is to follow this one.
type Successor struct {
	// Start starts it with a descriptor of the channel that connections go over.
	Start func(channel int) (*proc.Child, error)
	// Limit is how long it may take to become ready.
	Limit time.Duration
	// Admin, if set, is a copy of the listening socket of the admin API, or -1, and AdminAt what both processes call it.
	Admin   func() int
	AdminAt string
	// AdminLent says that the socket is a service manager's.
	AdminLent bool
}

// ErrUpgrading refuses an upgrade, a reload or its preview while an upgrade is under way, or behind one.
var ErrUpgrading = errors.New("an upgrade is under way: other processes are taking over already")

// Upgrade has another process follow this one: it starts it, gives it the listening sockets, waits until it serves, and
// hands the connections over. Then Serve is to be ended. With an error there is no such process any more, and this one
// serves as before.
func (a *App) Upgrade(ctx context.Context, s Successor) (*Moved, error) {
	if model := a.now().plan.Model; model.Driver() != "" { // it brings its own along, and has no loops
		return nil, fmt.Errorf("the model %s: %w", model.Name(), serve.ErrNotPortable)
	}
	if !a.beginUpgrade() {
		return nil, ErrUpgrading
	}
	a.upgrades.Add(1)
	defer a.upgrades.Done()
	// Who asks may go away; a stop has the new process end too, as it is the server that is to end.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(a.ending, cancel)()
	moved, err := a.upgrade(ctx, &s)
	switch {
	case err == nil:
		return moved, nil
	case a.ending.Err() != nil:
		err = fmt.Errorf("the server stops: %w", err)
		a.options.Log.Warn("the upgrade is given up", "cause", err)
	default:
		a.options.Log.Error("there is no upgrade: this process serves on", "cause", err)
	}
	a.upgrading.Store(false)
	return nil, err
}

// beginUpgrade keeps other upgrades and reloads from beginning; false: another upgrade has. A reload that has begun has
// ended when it returns, before the new process reads the configuration.
func (a *App) beginUpgrade() bool {
	if a.upgrading.Load() { // do not wait for the end of its hand-over
		return false
	}
	a.reloads.Lock()
	defer a.reloads.Unlock()
	return a.upgrading.CompareAndSwap(false, true)
}

func (a *App) upgrade(ctx context.Context, s *Successor) (*Moved, error) {
	channel, other, err := proc.NewPair()
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	child, err := s.Start(other)
	_ = sys.Close(other)
	if err != nil {
		return nil, err
	}
	a.options.Log.Info("a new process is to take over", "new_pid", child.PID())
	kill := func() {
		_ = child.Signal(syscall.SIGKILL) // or it has ended
		<-child.Died()
	}
	moved, err := a.pass(ctx, s, child, channel, kill)
	if err != nil {
		kill()
		child.Close()
		return nil, fmt.Errorf("the new process (%d): %w", child.PID(), err)
	}
	moved.PID = child.PID()
	if a.ending.Err() != nil {
		a.options.Log.Info("the new process is told to stop too", "new_pid", moved.PID)
		_ = child.Signal(syscall.SIGTERM) // or it has ended
	}
	return moved, nil
}

// pass gives a process that was started the sockets, and the connections when it serves.
func (a *App) pass(ctx context.Context, s *Successor, child *proc.Child, channel *proc.Channel, kill func(),
) (*Moved, error) {
	var sockets []handover.Socket
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	give := func(*handover.Hello) (_ []handover.Socket, err error) {
		sockets, err = a.offer(s)
		return sockets, err
	}
	hello, err := handover.Answer(limited, channel, a.options.Version, give)
	handover.CloseSockets(sockets) // it has its own by now
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("it has not asked for the listening sockets within %s", s.Limit)
	}
	// What it says of itself is worth more than what is seen of it from here.
	wanted := context.AfterFunc(ctx, kill)
	if unready := child.AwaitReady(s.Limit); unready != nil {
		return nil, unready
	}
	if !wanted() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return a.handOver(ctx, channel, hello, kill)
}

// offer is copies of all listening sockets.
func (a *App) offer(s *Successor) ([]handover.Socket, error) {
	g := a.now()
	keys := listenerKeys(g.plan)
	var sockets []handover.Socket
	for _, f := range g.fronts {
		fds, err := f.group.Copies()
		if err != nil {
			handover.CloseSockets(sockets)
			return nil, err
		}
		bound := f.group.Spec().Address
		for place, fd := range fds {
			if fd >= 0 {
				key := keys[f.place(g.plan)].where
				sockets = append(sockets, handover.Socket{
					Key: key, Place: place, Bound: bound, Lent: f.group.Lent(), FD: fd,
				})
			}
		}
	}
	if s.Admin != nil {
		if fd := s.Admin(); fd >= 0 {
			sockets = append(sockets, handover.Socket{Key: s.AdminAt, Lent: s.AdminLent, FD: fd})
		}
	}
	return sockets, nil
}

// Heritage is what a process gets from the one that it follows before it serves.
type Heritage struct {
	// Given are sockets for listeners of the plan.
	Given []Given
	// Admin is the listening socket of the admin API, which may be a service manager's; 0: there is none.
	Admin     int
	AdminLent bool
}

// Inherit asks the process at the other end of a channel, which is in its Upgrade, for what a server of the plan needs.
// adminAt is what both call the place of the admin API. TakeOn is the next step.
func Inherit(ctx context.Context, channel *proc.Channel, p *Plan, version, adminAt string) (Heritage, error) {
	h := Heritage{Given: []Given{}}
	hello := handover.Hello{Program: version, Sockets: true}
	keys := listenerKeys(p)
	places := make(map[string]int)
	for i, key := range keys {
		hello.Listeners = append(hello.Listeners, key.whole())
		places[key.where] = i
	}
	_, sockets, err := handover.Ask(ctx, channel, hello)
	if err != nil {
		return h, err
	}
	each := 1
	if p.Accept == serve.ReusePort {
		each = max(p.Loops, 1)
	}
	for _, s := range sockets {
		i, ok := places[s.Key]
		switch {
		case s.Key == adminAt && h.Admin == 0:
			h.Admin, h.AdminLent = s.FD, s.Lent
		case ok:
			h.Given = append(h.Given, Given{
				Listener: i, Place: s.Place % each, Bound: bound(s.Bound), Extra: s.Place >= each, Lent: s.Lent,
				FD: s.FD,
			})
		default: // the new configuration does not have it
			_ = sys.Close(s.FD)
		}
	}
	return h, nil
}

// bound is an address that a socket is bound to: that of a unix socket is none.
func bound(a netip.AddrPort) netip.AddrPort {
	if a.Port() == 0 {
		return netip.AddrPort{}
	}
	return a
}

// TakeOn goes on with the connections of the process that this one has inherited from, once it serves.
func (a *App) TakeOn(ctx context.Context, channel *proc.Channel) (taken int, err error) {
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.steering == nil {
		return 0, ErrNotServing
	}
	_, at := a.now().hello() // Inherit has said it, of the same plan
	return a.takeOver(ctx, channel, at, a.options.Awaits)
}

// AdminSocket is what Options.Admin was.
func (a *App) AdminSocket() int { return a.options.Admin }

// ErrNoUpgrade is told of a server that does not know how it was started.
var ErrNoUpgrade = errors.New("the server cannot start its successor")

// UpgradeTo has a process of another program follow this one, or of the same one as it is by now if path is empty.
func (a *App) UpgradeTo(ctx context.Context, path string) (*Moved, error) {
	if a.options.Upgrade == nil {
		return nil, ErrNoUpgrade
	}
	return a.options.Upgrade(ctx, path)
}
