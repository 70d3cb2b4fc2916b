// Package front is what the parent of worker processes does for their clients where the workers do not listen
// themselves.
//
// An [Acceptor] accepts, has a balance policy choose a worker, and passes the connection there over a channel of its
// own (unix(7), SCM_RIGHTS); the worker takes it by [Receive]. While a message is under way what comes next gathers,
// so that a connection that comes alone goes at once, and of thousands that come together many go in one message.
//
// Nothing is lost between the two. The parent keeps its copy of a descriptor until the worker has said that it took it,
// and the worker says so before it reads a byte. What a worker had not taken when it died, or cannot have for want of
// descriptors, and what it gives back because it is full, goes to another. A worker that takes nothing for a moment is
// given nothing more, and what waits for it goes elsewhere; only the few that the kernel holds for it already wait for
// its end. When no worker has room nothing is accepted, and the backlog of the kernel holds what comes.
package front

import (
	"encoding/binary"
	"errors"

	"github.com/myriad-server/myriad/internal/proc"
)

// The messages of the channel between a parent and a worker. Numbers are in the machine's own order, as both ends are
// on one machine.
//
//	connections: the number of the message (8 bytes), the listener's name; with the descriptors
//	taken:       the number of the message (8 bytes)
//	lost:        the same: its descriptors did not arrive
//	back:        the listener's name; with descriptors that the worker has no room for
//	done:        nothing; no connections follow, and the worker closes the channel when it has given back what it must
const (
	kindConnections uint16 = 1 + iota
	kindTaken
	kindLost
	kindBack
	kindDone
)

const numberBytes = 8

// ErrProtocol means that the other side of a channel does not keep to what was agreed.
var ErrProtocol = errors.New("front: the other process said what it should not")

// connections is a message of connections.
func connections(number uint64, listener string, descriptors []int) proc.Message {
	payload := append(binary.NativeEndian.AppendUint64(nil, number), listener...)
	return proc.Message{Kind: kindConnections, Payload: payload, Descriptors: descriptors}
}

// numbered is a message that is a number alone.
func numbered(kind uint16, number uint64) proc.Message {
	return proc.Message{Kind: kind, Payload: binary.NativeEndian.AppendUint64(nil, number)}
}

// numberOf takes the number off a payload.
func numberOf(payload []byte) (number uint64, rest []byte, ok bool) {
	if len(payload) < numberBytes {
		return 0, nil, false
	}
	return binary.NativeEndian.Uint64(payload), payload[numberBytes:], true
}
