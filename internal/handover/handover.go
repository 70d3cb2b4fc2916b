// Package handover brings established connections from one process to another: what the two say to each other, in which
// form, and what happens when one of them fails. It neither freezes nor begins a connection; [Sender] is given parcels,
// and [Receive] gives them.
//
// The one that takes over asks first: which versions it speaks, which listeners it serves, whether it needs their
// sockets. The other answers, with the sockets. Then parcels go in numbered batches, and each batch is acknowledged
// with what was refused of it. The sender has its own descriptors of a connection until then, so nothing is lost when
// the other side dies: what it had not acknowledged goes back to where it came from.
//
// One window remains. A receiver that dies behind the arrival of a connection and before its acknowledgement, some
// microseconds, may have read from it. Its bytes are gone with it, as those of any process that dies.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/myriad-server/myriad/internal/proc"
)

// The versions of the format that this program speaks. A version changes when what is there means something else; what
// is added at the end of a record is skipped by those who do not know it.
const (
	leastVersion = 1
	mostVersion  = 1
)

// The kinds of messages. Those from 64 on are of this package, so that a channel can carry others besides.
const (
	kindHello       = 64 + iota // of the one that takes over: JSON
	kindWelcome                 // the answer: JSON
	kindSockets                 // listening sockets: JSON, and their descriptors
	kindPart                    // the beginning of a batch that is longer than a message
	kindBatch                   // a batch, or its end, and its descriptors
	kindAcknowledge             // of a batch, with what was refused
	kindDone                    // there are no more parcels
	kindLeft                    // the sender has let go of the listening sockets
)

// Hello is what the one that takes over says of itself.
type Hello struct {
	// Least and Most are the versions of the format that it speaks.
	Least int `json:"least"`
	Most  int `json:"most"`
	// Program is its version, for people.
	Program string `json:"program"`
	// Listeners are the keys of those that it serves. Parcels name a listener by its place here.
	Listeners []string `json:"listeners"`
	// Sockets asks for the listening sockets.
	Sockets bool `json:"sockets"`
}

// Welcome is the answer.
type Welcome struct {
	// Version is what is spoken from now on; 0: none, and Refusal says why.
	Version int    `json:"version"`
	Refusal string `json:"refusal,omitempty"`
	Program string `json:"program"`
	// Sockets is how many follow.
	Sockets int `json:"sockets"`
}

// Socket is a listening socket that goes along.
type Socket struct {
	// Key is that of its listener, and Place which of its sockets it is.
	Key   string `json:"key"`
	Place int    `json:"place"`
	// Bound is the address with the port; it has none for a unix socket.
	Bound netip.AddrPort `json:"bound"`
	// Lent says that it is a service manager's, which keeps it.
	Lent bool `json:"lent,omitempty"`
	FD   int  `json:"-"`
}

// ErrRefused says that the other process does not hand over to this one.
var ErrRefused = errors.New("the other process does not hand over")

// errOrder says that a message came which does not come here.
var errOrder = errors.New("a message came out of order")

// Ask says hello, and waits for the answer and the sockets, which are the caller's to close from then on. Least and
// Most are filled in if they are zero.
func Ask(ctx context.Context, channel *proc.Channel, hello Hello) (*Welcome, []Socket, error) {
	if hello.Most == 0 {
		hello.Least, hello.Most = leastVersion, mostVersion
	}
	if err := say(ctx, channel, kindHello, hello, nil); err != nil {
		return nil, nil, err
	}
	welcome := new(Welcome)
	if m, err := hear(ctx, channel, kindWelcome, welcome); err != nil {
		m.Close()
		return nil, nil, err
	}
	if welcome.Version == 0 {
		return nil, nil, fmt.Errorf("%w: %s", ErrRefused, welcome.Refusal)
	}
	var sockets []Socket
	for len(sockets) < welcome.Sockets {
		var some []Socket
		m, err := hear(ctx, channel, kindSockets, &some)
		if err == nil && (len(some) == 0 || len(some) != len(m.Descriptors)) {
			err = fmt.Errorf("%w: %d sockets with %d descriptors", proc.ErrFrame, len(some), len(m.Descriptors))
		}
		if err != nil {
			m.Close()
			CloseSockets(sockets)
			return nil, nil, err
		}
		for i := range some {
			some[i].FD = m.Descriptors[i]
		}
		sockets = append(sockets, some...)
	}
	return welcome, sockets, nil
}

// Answer waits for the hello of the one that takes over, and answers it. offer says what its listeners' sockets are, if
// it asks for them; they stay the caller's. An error of offer refuses.
func Answer(ctx context.Context, channel *proc.Channel, program string, offer func(h *Hello) ([]Socket, error),
) (*Hello, error) {
	hello := new(Hello)
	if m, err := hear(ctx, channel, kindHello, hello); err != nil {
		m.Close()
		return nil, err
	}
	var sockets []Socket
	version, err := agree(hello.Least, hello.Most)
	if err == nil && hello.Sockets {
		sockets, err = offer(hello)
	}
	if err != nil {
		refusal := Welcome{Refusal: err.Error(), Program: program}
		return nil, errors.Join(err, say(ctx, channel, kindWelcome, refusal, nil))
	}
	welcome := Welcome{Version: version, Program: program, Sockets: len(sockets)}
	if err := say(ctx, channel, kindWelcome, welcome, nil); err != nil {
		return nil, err
	}
	for len(sockets) > 0 {
		some := sockets[:min(len(sockets), proc.MostDescriptors)]
		sockets = sockets[len(some):]
		var fds []int
		for _, s := range some {
			fds = append(fds, s.FD)
		}
		if err := say(ctx, channel, kindSockets, some, fds); err != nil {
			return nil, err
		}
	}
	return hello, nil
}

// agree is the highest version that both sides speak.
func agree(least, most int) (int, error) {
	version := min(most, mostVersion)
	if version < max(least, leastVersion) {
		return 0, fmt.Errorf("the new program speaks versions %d to %d of the hand-over, and this one speaks %d to %d",
			least, most, leastVersion, mostVersion)
	}
	return version, nil
}

func say(ctx context.Context, channel *proc.Channel, kind uint16, v any, fds []int) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return channel.Send(ctx, proc.Message{Kind: kind, Payload: text, Descriptors: fds})
}

// hear receives what has to come now. The message holds the descriptors, also with an error.
func hear(ctx context.Context, channel *proc.Channel, kind uint16, v any) (proc.Message, error) {
	m, err := channel.Receive(ctx)
	if err == nil && m.Kind != kind {
		err = fmt.Errorf("%w: of kind %d, and not %d", errOrder, m.Kind, kind)
	}
	if err == nil {
		err = json.Unmarshal(m.Payload, v)
	}
	return m, err
}
