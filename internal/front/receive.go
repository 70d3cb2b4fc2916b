package front

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/myriad-server/myriad/internal/proc"
)

// Receive is the worker's side: it takes connections from the parent until the parent has gone or the channel is
// closed, and gives them to arrive, some at once, with the name of the listener that accepted them. The descriptors,
// which are non-blocking and close-on-exec, belong to arrive, but for those that it returns because there is no room:
// they go back, for another worker. Receive closes the channel.
func Receive(c *proc.Channel, arrive func(listener string, fds []int) (back []int)) error {
	defer c.Close()
	ctx := context.Background()
	for last := uint64(0); ; {
		m, err := c.Receive(ctx)
		switch {
		case errors.Is(err, proc.ErrDescriptorsLost):
			last++ // they come in order
			if err := answer(c, numbered(kindLost, last)); err != nil {
				return err
			}
			continue
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		if m.Kind == kindDone {
			m.Close()
			return nil
		}
		number, listener, ok := numberOf(m.Payload)
		if !ok || m.Kind != kindConnections || number != last+1 {
			m.Close()
			return ErrProtocol
		}
		last = number
		if err := take(c, m, number, string(listener), arrive); err != nil {
			return err
		}
	}
}

// take says that a message has come, and only then gives its connections to arrive: until the parent knows, nobody has
// read from them, and it may give them to another if this process dies.
func take(c *proc.Channel, m proc.Message, number uint64, listener string, arrive func(string, []int) []int) error {
	if err := answer(c, numbered(kindTaken, number)); err != nil {
		m.Close() // it goes to another
		return err
	}
	back := arrive(listener, m.Descriptors)
	if len(back) == 0 {
		return nil
	}
	returned := proc.Message{Kind: kindBack, Payload: []byte(listener), Descriptors: back}
	defer returned.Close()
	return answer(c, returned)
}

// answer sends a message to the parent. That it has gone is the end of the channel, and is seen there.
func answer(c *proc.Channel, m proc.Message) error {
	err := c.Send(context.Background(), m)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
