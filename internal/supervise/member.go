package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/myriad-server/myriad/internal/proc"
)

const (
	placeVariable = "MYRIAD_PLACE" // the number of a worker, its slot and its generation
	boardName     = "board"
)

// KindAsk is the kind of a message that asks a worker whether it lives. Kinds below 64 are the supervisor's, the others
// free for what else goes over the channel.
const KindAsk uint16 = 1

// Member is a worker's own side: what it was started for, and how it tells how it is.
type Member struct {
	Place
	*proc.Inherited
	Board *proc.Board
	Slot  *proc.Slot
}

// Join takes over what a Supervisor has started this process for, and claims its slot for a number of loops. When it
// fails after the parent can be told, the parent was told. proc.ErrNotChild: nobody has started this as a worker.
func Join(loops int) (*Member, error) {
	inherited, err := proc.Adopt()
	if err != nil {
		return nil, err
	}
	m := &Member{Inherited: inherited}
	if err := m.claim(loops); err != nil {
		return nil, errors.Join(err, inherited.Fail(err))
	}
	return m, nil
}

func (m *Member) claim(loops int) error {
	text := os.Getenv(placeVariable)
	if err := os.Unsetenv(placeVariable); err != nil {
		return err
	}
	if _, err := fmt.Sscan(text, &m.Worker, &m.Place.Slot, &m.Generation); err != nil {
		return fmt.Errorf("%s=%q was written by another program: %w", placeVariable, text, err)
	}
	fd, ok := m.File(boardName)
	if !ok {
		return errors.New("no board was inherited")
	}
	board, err := proc.OpenBoard(fd)
	if err != nil {
		return err
	}
	m.Board = board
	m.Slot, err = board.Claim(m.Place.Slot, proc.Identity{
		PID: os.Getpid(), Worker: uint64(m.Worker), Generation: m.Generation, Started: time.Now(), Loops: loops,
	})
	return err
}

// Ready tells the supervisor that this worker serves.
func (m *Member) Ready() error {
	m.Slot.SetState(proc.Serving)
	return m.Inherited.Ready()
}

// Attend answers what the supervisor asks, by having the loops beat, and passes other messages on, whose descriptors
// belong to other then; nil closes them. It returns when the supervisor has died or ctx ends.
func (m *Member) Attend(ctx context.Context, pulse *proc.Pulse, other func(proc.Message)) error {
	for {
		message, err := m.Control().Receive(ctx)
		var version *proc.VersionError
		switch {
		case errors.Is(err, proc.ErrFrame), errors.Is(err, proc.ErrDescriptorsLost), errors.As(err, &version):
			continue // the next one can be read
		case err != nil:
			return err
		case message.Kind == KindAsk:
			message.Close()
			pulse.Beat()
		case other != nil:
			other(message)
		default:
			message.Close()
		}
	}
}
