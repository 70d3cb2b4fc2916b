package supervise

import (
	"context"
	"log/slog"
	"os"

	"github.com/myriad-server/myriad/internal/bus"
	"github.com/myriad-server/myriad/internal/proc"
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
	Log     *slog.Logger
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
	board, err := proc.NewBoard(policy.Slots, 1)
	if err != nil {
		_ = letter.Close()
		return nil, err
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	c := &Crew{Ready: ready, Ended: ended, board: board, letter: letter}
	command := o.Command
	command.Files = append([]proc.Named{{Name: o.Name, FD: int(letter.Fd())}}, command.Files...)
	c.Supervisor, err = New(Options{
		Policy: policy, Board: board, Log: o.Log.With("crew", o.Name),
		Launch: func(Place) (proc.Command, error) { return command, nil },
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
	})
	if err != nil {
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

func (c *Crew) close() {
	c.board.Close()
	_ = c.letter.Close() // it was only read
}
