package proc

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Command says what Start is to run.
type Command struct {
	// Path of the binary, which is not looked for in PATH.
	Path string
	// Name is what the program is called (argv[0]); empty is its path.
	Name string
	// Args behind the program's name.
	Args []string
	// Env is the whole environment as name=value, the last of a name counting; nil is this process's own. What belongs
	// to this process alone is left out: the sockets and the watchdog that systemd gave it.
	Env []string
	// Dir is where it runs; empty is where this process does.
	Dir string
	// Stdin, Stdout and Stderr are what they are called; nil is the null device.
	Stdin, Stdout, Stderr *os.File
	// Files are the descriptors that the child inherits, each name once.
	Files []Named
	// OwnGroup makes the child lead a process group: what is typed at a terminal reaches its parent alone.
	OwnGroup bool
	// Peer starts a successor of this process, which may start workers itself, rather than a worker, which may not.
	Peer bool
}

// Ending is how a child ended, and what it has used.
type Ending struct {
	sys.ChildEnd
	Lasted time.Duration // from its start
}

// String is what an operator reads: "exit status 1" or "signal: killed".
func (e Ending) String() string {
	if e.Signal == 0 {
		return "exit status " + strconv.Itoa(e.Code)
	}
	if e.Core {
		return "signal: " + e.Signal.String() + " (core dumped)"
	}
	return "signal: " + e.Signal.String()
}

// Child is a process that was started. Its methods are safe for use by several goroutines.
type Child struct {
	pid     int
	process *os.File // the pidfd
	raw     syscall.RawConn
	ready   *os.File // reads what the child says of its readiness
	life    *os.File // held open for as long as this process lives
	control *Channel
	began   time.Time

	said   chan error
	died   chan struct{}
	ending Ending
	once   sync.Once
}

// Start runs a command. The child must be closed after its death.
func Start(c Command) (*Child, error) {
	own := depth()
	if own >= mostDepth && !c.Peer {
		return nil, fmt.Errorf("start %s: %w", c.Path, ErrTooDeep)
	}
	if !c.Peer {
		own++
	}
	ends, err := openEnds()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	defer ends.closeTheirs()
	files, names, closeNull, err := c.files(ends)
	if err != nil {
		ends.closeOurs()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	defer closeNull()
	closeStrays()
	began := time.Now()
	pid, pidfd, err := spawn(sys.ChildSpec{
		Path: c.Path, Args: append([]string{cmp.Or(c.Name, c.Path)}, c.Args...), Env: c.environment(names, own), Dir: c.Dir,
		Files: files, OwnGroup: c.OwnGroup,
	})
	if err != nil {
		ends.closeOurs()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	child := &Child{
		pid: pid, process: os.NewFile(uintptr(pidfd), "pidfd"), ready: ends.ready, life: ends.life,
		control: ends.control, began: began, said: make(chan error, 1), died: make(chan struct{}),
	}
	// SyscallConn fails for a file that is closed, and this one is new.
	child.raw, _ = child.process.SyscallConn()
	go child.listen()
	go child.watch()
	return child, nil
}

// closeStrays has what this process has itself inherited from a careless starter, such as a shell, end with it: a child
// must not keep a descriptor that nobody knows of. What Go opens is close-on-exec anyway. Before Linux 5.11 it does
// nothing.
var closeStrays = sync.OnceFunc(func() { _ = sys.SetAllCloseOnExec(firstInherited) })

// files lists the descriptors of the child by number, and the names of those from 3 on.
func (c Command) files(ends *ends) (files []int, names []string, closeNull func(), err error) {
	if len(c.Files) > MostNamed {
		return nil, nil, nil, fmt.Errorf("%d descriptors are to be inherited; the limit is %d", len(c.Files), MostNamed)
	}
	var null *os.File
	closeNull = func() { _ = null.Close() } // of a nil file it is an error and nothing else
	for _, standard := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if standard == nil {
			if null == nil {
				if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
					return nil, nil, nil, err
				}
			}
			standard = null
		}
		files = append(files, int(standard.Fd()))
	}
	files = append(files, ends.theirs[:]...)
	names = append(names, readyName, lifeName, controlName)
	taken := map[string]bool{}
	for _, named := range c.Files {
		err := named.check()
		if err == nil && taken[named.Name] {
			err = fmt.Errorf("two descriptors are called %q", named.Name)
		}
		if err != nil {
			closeNull()
			return nil, nil, nil, err
		}
		taken[named.Name] = true
		files, names = append(files, named.FD), append(names, named.Name)
	}
	return files, names, closeNull, nil
}

func (c Command) environment(names []string, depth int) []string {
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	seen := map[string]bool{
		inheritVariable: true, depthVariable: true, "LISTEN_PID": true, "LISTEN_FDS": true, "LISTEN_FDNAMES": true,
		"WATCHDOG_PID": true, "WATCHDOG_USEC": true,
	}
	kept := []string{
		depthVariable + "=" + strconv.Itoa(depth),
		inheritVariable + "=" + strconv.Itoa(os.Getpid()) + " " + strings.Join(names, " "),
	}
	// The last of a name counts, as whoever appends means it; programs differ in which they take.
	for _, entry := range slices.Backward(env) {
		if name, _, _ := strings.Cut(entry, "="); !seen[name] {
			seen[name] = true
			kept = append(kept, entry)
		}
	}
	return kept
}

// ends are both sides of the pipes and the channel between a parent and a child.
type ends struct {
	ready, life *os.File
	control     *Channel
	theirs      [3]int // ready, life, control
}

func openEnds() (*ends, error) {
	readyRead, readyWrite, err := sys.Pipe()
	if err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	lifeRead, lifeWrite, err := sys.Pipe()
	if err != nil {
		closeAll(readyRead, readyWrite)
		return nil, os.NewSyscallError("pipe2", err)
	}
	control, theirs, err := NewPair()
	if err != nil {
		closeAll(readyRead, readyWrite, lifeRead, lifeWrite)
		return nil, err
	}
	return &ends{
		ready: os.NewFile(uintptr(readyRead), readyName), life: os.NewFile(uintptr(lifeWrite), lifeName),
		control: control, theirs: [3]int{readyWrite, lifeRead, theirs},
	}, nil
}

func (e *ends) closeTheirs() { closeAll(e.theirs[:]...) }

func (e *ends) closeOurs() {
	_, _ = e.ready.Close(), e.life.Close()
	e.control.Close()
}

func closeAll(descriptors ...int) {
	for _, fd := range descriptors {
		_ = sys.Close(fd)
	}
}

// listen hears what the child says of its readiness.
func (c *Child) listen() {
	c.said <- hear(c.ready)
	close(c.said)
	_ = c.ready.Close()
}

// watch waits for the child's end on the poller, without a thread, and reaps it. Until then the number of the child
// cannot be another's.
func (c *Child) watch() {
	err := c.raw.Read(func(uintptr) bool {
		end, ended, err := sys.Reap(c.pid)
		if err != nil {
			// Somebody else has reaped it (SIGCHLD is ignored): it has ended, and how is lost.
			end, ended = sys.ChildEnd{Code: -1}, true
		}
		c.ending = Ending{ChildEnd: end, Lasted: time.Since(c.began)}
		return ended
	})
	if err != nil { // the caller closed it before its death
		c.ending = Ending{ChildEnd: sys.ChildEnd{Code: -1}, Lasted: time.Since(c.began)}
	}
	close(c.died)
}

// PID is the child's process id, for people; nothing should be signalled by it.
func (c *Child) PID() int { return c.pid }

// Control is the channel to the child. It is closed with the child.
func (c *Child) Control() *Channel { return c.control }

// Ready gives one value, and is closed then: nil when the child said that it is ready, a *Failure with its own words
// when it said that it cannot be, ErrSilent when it can say nothing any more.
func (c *Child) Ready() <-chan error { return c.said }

// Died is closed as soon as the child has ended and was reaped.
func (c *Child) Died() <-chan struct{} { return c.died }

// Ending is how the child ended. It may be asked once Died is closed.
func (c *Child) Ending() Ending {
	<-c.died
	return c.ending
}

// AwaitReady waits until the child is ready. Otherwise the error says what came first: its failure in its own words,
// its death, or that the limit was reached (os.ErrDeadlineExceeded); it has been told nothing then, and runs on. Ready
// and AwaitReady exclude each other.
func (c *Child) AwaitReady(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-c.said:
		if errors.Is(err, ErrSilent) {
			select {
			case <-c.died:
				return fmt.Errorf("%w: %s", err, c.ending)
			case <-timer.C:
			}
		}
		return err
	case <-timer.C:
		return fmt.Errorf("not ready within %s: %w", limit, os.ErrDeadlineExceeded)
	}
}

// Signal sends a signal to the child, and to nobody else: ErrGone when it has ended.
func (c *Child) Signal(signal syscall.Signal) (err error) {
	select {
	case <-c.died:
		return ErrGone
	default:
	}
	held := c.raw.Control(func(fd uintptr) { err = sys.SignalProcess(int(fd), signal) })
	switch {
	case held != nil || errors.Is(err, syscall.ESRCH):
		return ErrGone
	case err != nil:
		return fmt.Errorf("signal %s to process %d: %w", signal, c.pid, err)
	}
	return nil
}

// Close lets go of a child. It is called after its death; a child that still lives takes it for the death of its
// parent, and is not reaped.
func (c *Child) Close() {
	c.once.Do(func() {
		_, _, _ = c.process.Close(), c.life.Close(), c.ready.Close()
		c.control.Close()
	})
	<-c.died
}
