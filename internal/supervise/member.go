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
	placeVariable = "MYRIAD_PLACE" // the number of a worker, its slot, its generation and its seat
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
	// Orders are those that have come in part.
	Orders Orders
}

// Join takes over what a Supervisor has started this process for, and claims its slot for a number of loops. When it
// fails after the parent can be told, the parent was told. proc.ErrNotChild: nobody has started this as a worker.
func Join(loops int) (*Member, error) {
	m, err := Enter()
	if err != nil {
		return nil, err
	}
	if err := m.Claim(loops); err != nil {
		return nil, err
	}
	return m, nil
}

// Enter is Join for a worker that does not know yet how many loops it will have, and claims its slot later.
func Enter() (*Member, error) {
	inherited, err := proc.Adopt()
	if err != nil {
		return nil, err
	}
	m := &Member{Inherited: inherited}
	if err := m.enter(); err != nil {
		return nil, errors.Join(err, inherited.Fail(err))
	}
	return m, nil
}

// Claim claims the slot for a number of loops. When it fails the parent was told.
func (m *Member) Claim(loops int) (err error) {
	m.Slot, err = m.Board.Claim(m.Place.Slot, proc.Identity{
		PID: os.Getpid(), Worker: uint64(m.Worker), Generation: m.Generation, Started: time.Now(), Loops: loops,
	})
	if err != nil {
		return errors.Join(err, m.Fail(err))
	}
	return nil
}

func (m *Member) enter() error {
	text := os.Getenv(placeVariable)
	if err := os.Unsetenv(placeVariable); err != nil {
		return err
	}
	if _, err := fmt.Sscan(text, &m.Worker, &m.Place.Slot, &m.Generation, &m.Seat); err != nil {
		return fmt.Errorf("%s=%q was written by another program: %w", placeVariable, text, err)
	}
	fd, ok := m.File(boardName)
	if !ok {
		return errors.New("no board was inherited")
	}
	var err error
	m.Board, err = proc.OpenBoard(fd)
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
