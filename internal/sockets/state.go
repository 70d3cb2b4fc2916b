package sockets

import (
	"fmt"
	"strings"
)

// State is a state of TCP, numbered as in the kernel's tcp_states.h. docs/states.md explains them.
type State uint8

const (
	Established State = 1 + iota // both ends may send
	SynSent                      // we asked for a connection, no answer yet
	SynReceived                  // a peer asked, and has not acknowledged our answer
	FinWait1                     // we closed first, and that is not acknowledged
	FinWait2                     // it is; the peer may still send
	TimeWait                     // closed by both, us first; late segments are waited out
	Close                        // no connection
	CloseWait                    // the peer closed first, and our program has not closed yet
	LastAck                      // then we closed as well, and that is not acknowledged
	Listen                       // connections are accepted here
	Closing                      // both closed at once
)

var states = [...]string{
	Established: "ESTABLISHED", SynSent: "SYN_SENT", SynReceived: "SYN_RECV", FinWait1: "FIN_WAIT1",
	FinWait2: "FIN_WAIT2", TimeWait: "TIME_WAIT", Close: "CLOSE", CloseWait: "CLOSE_WAIT", LastAck: "LAST_ACK",
	Listen: "LISTEN", Closing: "CLOSING",
}

// String is the name of the state as in netstat(8).
func (s State) String() string {
	if int(s) < len(states) && states[s] != "" {
		return states[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText makes a state its name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Bit is the state alone, as a set.
func (s State) Bit() States { return 1 << s }

// ParseState finds a state by its name, in any case, with - for _ if you like: close-wait.
func ParseState(name string) (State, error) {
	wanted := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for s, known := range states {
		if known != "" && known == wanted {
			return State(s), nil
		}
	}
	return 0, fmt.Errorf("no state of TCP is called %q: there are %s", name, strings.Join(states[1:], ", "))
}

// States is a set of states.
type States uint32

// All is every state there is.
const All States = 1<<(Closing+1) - 2

// Has tells whether a state is in the set.
func (s States) Has(one State) bool { return s&one.Bit() != 0 }
