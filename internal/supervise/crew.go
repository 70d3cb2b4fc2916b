package supervise

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// Crew is processes of one kind beside the workers of a fleet, or instead of one, which a supervisor of their own keeps
// running. They inherit a letter, which says what they are to do.
type Crew struct {
	*Supervisor
	// Ready is closed when all of them have been ready once.
	Ready <-chan struct{}
	// Ended has the outcome when the last has ended.
	Ended  <-chan error
	board  *proc.Board
	letter *os.File
	launch Launch

	mu    sync.Mutex
	links map[ID]*link
}

// CrewOptions are what a Crew is made of.
type CrewOptions struct {
	// Name is that of the letter among what is inherited, and of the crew in the log.
	Name string
	// Letter is what a process is to know; Unseal of package bus reads it.
	Letter any
	// Count is how many processes there are to be.
	Count int
	// Command starts one; it calls Join with no loops.
	Command proc.Command
	// Files, if set, are what the process of a seat inherits besides, such as its listening socket; they stay the
	// caller's.
	Files func(seat int) []proc.Named
	// Succeeds says that the processes carry out OrderTakeOver and OrderHandOver, behind which they drain: what one has
	// goes to the one that follows it.
	Succeeds bool
	Log      *slog.Logger
	// Watch, if set, is told what happens to them.
	Watch func(crew string, e Event)
}

// Enlist starts the processes of a crew, and keeps them until ctx ends.
func Enlist(ctx context.Context, o CrewOptions) (*Crew, error) {
	letter, err := bus.Seal(o.Letter)
	if err != nil {
		return nil, err
	}
	policy, waited := Sensible(o.Count), o.Count
	policy.Retire, policy.SettleAfter = LastSeat, settleAfter
	board, err := proc.NewBoard(policy.Slots, 1)
	if err != nil {
		_ = letter.Close()
		return nil, err
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	c := &Crew{Ready: ready, Ended: ended, board: board, letter: letter, links: map[ID]*link{}}
	c.launch = func(p Place) (proc.Command, error) {
		command := o.Command
		command.Files = append([]proc.Named{{Name: o.Name, FD: int(letter.Fd())}}, command.Files...)
		if o.Files != nil {
			command.Files = append(command.Files, o.Files(p.Seat)...)
		}
		return command, nil
	}
	options := Options{
		Policy: policy, Board: board, Log: o.Log.With("crew", o.Name), Launch: c.launch,
		Notify: func(e Event) {
			if e.Kind == WorkerReady {
				if waited--; waited == 0 {
					close(ready)
				}
			}
			if o.Watch != nil {
				o.Watch(o.Name, e)
			}
		},
	}
	if o.Succeeds {
		options.Started = c.started
		options.Succeed = func(from, heir ID) error { return c.succeed(policy.DrainFor, from, heir) }
	}
	if c.Supervisor, err = New(options); err != nil {
		c.close()
		return nil, err
	}
	go func() {
		err := c.Run(ctx)
		c.close()
		ended <- err
	}()
	return c, nil
}

// Replace has new processes of the same command, whose program may be another by now, take over one after the other,
// and waits for it.
func (c *Crew) Replace(ctx context.Context) error { return c.Roll(ctx, c.launch) }

// started listens to a process.
func (c *Crew) started(p Place, child *proc.Child) {
	l := newLink(p, child, 0)
	c.mu.Lock()
	c.links[p.Worker] = l
	c.mu.Unlock()
	l.listen()
	c.mu.Lock()
	delete(c.links, p.Worker)
	c.mu.Unlock()
}

// succeed has a process give what it has to another one.
func (c *Crew) succeed(limit time.Duration, from, heir ID) error {
	c.mu.Lock()
	giver, taker := c.links[from], c.links[heir]
	c.mu.Unlock()
	if giver == nil || taker == nil {
		return errLost
	}
	one, other, err := proc.RawPair()
	if err != nil {
		return err
	}
	defer func() { _, _ = sys.Close(one), sys.Close(other) }()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := taker.order(ctx, Order{Do: OrderTakeOver, Channel: 1}, []int{one}); err != nil {
		return err
	}
	_, err = giver.order(ctx, Order{Do: OrderHandOver, Channel: 1}, []int{other})
	return err
}

func (c *Crew) close() {
	c.board.Close()
	_ = c.letter.Close() // it was only read
}
