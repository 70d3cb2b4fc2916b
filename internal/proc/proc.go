// Package proc is what a server of several processes is made of: children that are started, watched and signalled, what
// they inherit, how they say that they are ready, a channel for messages and descriptors, counters in shared memory, a
// pid file that is locked, and what systemd wants to hear. When to start, stop or replace anything is decided above.
//
// Processes are held by a pidfd, never by their number alone, so nothing is ever signalled that merely got the number
// of a child that has died. Every descriptor is close-on-exec; a child gets those that are named for it, and no others.
//
// A child that is orphaned notices by its life pipe, whose other end its parent alone holds. PR_SET_PDEATHSIG of
// prctl(2) was rejected: it tells of the death of the thread that forked, and in Go that thread may end long before its
// process.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Environment variables between a parent and a child. A child takes them out of its environment as it adopts what they
// tell of, except the depth.
const (
	inheritVariable = "MYRIAD_INHERIT" // the parent's pid and the names of the descriptors from 3 on
	depthVariable   = "MYRIAD_DEPTH"   // how many starts lie between the process and the first of the family
)

const (
	firstInherited = 3 // behind the standard input, output and error
	// MostNamed is how many descriptors a child can inherit by name; more go over the control channel.
	MostNamed = 256
	// mostDepth lets a process start workers, and a worker start nothing: a mistake in the choice of the role would
	// otherwise fill the machine with processes.
	mostDepth = 1
)

// The names of what every child inherits.
const (
	readyName   = "ready"
	lifeName    = "life"
	controlName = "control"
)

// Errors of this package that callers tell apart.
var (
	// ErrGone means that the process has died: nobody was signalled.
	ErrGone = errors.New("the process has ended")
	// ErrNotChild means that the process was not started by Start.
	ErrNotChild = errors.New("this process was not started as a child")
	// ErrOrphan means that the parent died before its child had adopted what it inherits.
	ErrOrphan = errors.New("the parent of this process has ended")
	// ErrTooDeep means that a child wanted to start children.
	ErrTooDeep = errors.New("a worker starts no processes of its own")
	// ErrSilent means that a child let go of its ready pipe and had said nothing.
	ErrSilent = errors.New("it ended before it was ready")
)

// Named is a descriptor with the name that a child finds it by: letters, digits and -_.:/@[], at most 128 of them. FD
// stays with the caller.
type Named struct {
	Name string
	FD   int
}

func (n Named) check() error {
	const longest = 128
	valid := func(r rune) bool {
		return r < 0x7f && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' ||
			strings.ContainsRune("-_.:/@[]", r))
	}
	switch {
	case n.Name == "" || len(n.Name) > longest || strings.ContainsFunc(n.Name, func(r rune) bool { return !valid(r) }):
		return fmt.Errorf("%q is no name for a descriptor", n.Name)
	case n.Name == readyName || n.Name == lifeName || n.Name == controlName:
		return fmt.Errorf("the name %q is taken by what every child inherits", n.Name)
	case n.FD < 0:
		return fmt.Errorf("descriptor %q is not open", n.Name)
	}
	return nil
}

// depth is how many starts lie between this process and the first of its family. Nonsense counts as too many.
func depth() int {
	text := os.Getenv(depthVariable)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return mostDepth
	}
	return n
}
