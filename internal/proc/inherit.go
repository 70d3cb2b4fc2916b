package proc

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/myriad-server/myriad/internal/sys"
)

// Inherited is what a child has from its parent. Its methods are safe for use by several goroutines.
type Inherited struct {
	parent  int
	named   []Named
	control *Channel
	orphan  chan struct{}
	life    *os.File

	mu    sync.Mutex
	ready *os.File // nil once it was said
}

// IsChild tells whether this process was started by Start and has not adopted yet what it inherits.
func IsChild() bool { return os.Getenv(inheritVariable) != "" }

// Adopt takes over what Start has left for this process, once: its descriptors become close-on-exec and the environment
// variable that told of them goes. ErrNotChild when nothing was left, ErrOrphan when the parent has died already.
func Adopt() (*Inherited, error) {
	text := os.Getenv(inheritVariable)
	if text == "" {
		return nil, ErrNotChild
	}
	if err := os.Unsetenv(inheritVariable); err != nil {
		return nil, err
	}
	words := strings.Fields(text)
	parent, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 4 || words[1] != readyName || words[2] != lifeName || words[3] != controlName {
		return nil, fmt.Errorf("%s=%q was written by another program", inheritVariable, text)
	}
	// A program between the two, which handed its environment on, has descriptors of its own behind these numbers.
	if now := os.Getppid(); now != parent {
		return nil, fmt.Errorf("%w: it was process %d, and is process %d now", ErrOrphan, parent, now)
	}
	own := &Inherited{parent: parent, orphan: make(chan struct{})}
	for i, name := range words[1:] {
		fd := firstInherited + i
		if err := sys.SetCloseOnExec(fd); err != nil {
			return nil, fmt.Errorf("descriptor %d, %q, was not inherited: %w", fd, name, err)
		}
		own.named = append(own.named, Named{Name: name, FD: fd})
	}
	own.ready = os.NewFile(uintptr(own.named[0].FD), readyName)
	own.life = os.NewFile(uintptr(own.named[1].FD), lifeName)
	if own.control, err = NewChannel(own.named[2].FD); err != nil {
		return nil, err
	}
	own.named = own.named[3:]
	go own.mourn()
	return own, nil
}

// mourn waits for the end of the life pipe, into which nobody ever writes.
func (i *Inherited) mourn() {
	_, _ = io.Copy(io.Discard, i.life)
	close(i.orphan)
}

// Files are the descriptors that were inherited by name, in the order of the command. They are the caller's to close.
func (i *Inherited) Files() []Named { return append([]Named(nil), i.named...) }

// File is the descriptor of a name.
func (i *Inherited) File(name string) (fd int, ok bool) {
	for _, named := range i.named {
		if named.Name == name {
			return named.FD, true
		}
	}
	return -1, false
}

// Control is the channel to the parent.
func (i *Inherited) Control() *Channel { return i.control }

// Orphaned is closed when the parent has died, however it died.
func (i *Inherited) Orphaned() <-chan struct{} { return i.orphan }

// Parent is the process id of the parent, for people.
func (i *Inherited) Parent() int { return i.parent }

// Ready tells the parent that this process does its work now. Only the first word on it counts.
func (i *Inherited) Ready() error { return i.say([]byte(readyLine)) }

// Fail tells the parent why this process cannot do its work, in up to some 4,000 bytes. Only the first word on it
// counts.
func (i *Inherited) Fail(why error) error { return i.say(failedLine(why)) }

func (i *Inherited) say(line []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ready == nil {
		return nil
	}
	_, err := i.ready.Write(line)
	_ = i.ready.Close()
	i.ready = nil
	return err
}
