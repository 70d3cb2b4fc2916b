package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Notifier tells the service manager what goes on, by the protocol of sd_notify(3). The nil Notifier is one whom nobody
// listens to, and does nothing. Its methods are safe for use by several goroutines.
//
// The manager reads at its leisure; no method waits for it but Barrier.
type Notifier struct {
	mu sync.Mutex
	fd int
}

// NewNotifier takes NOTIFY_SOCKET out of the environment, so that no child speaks for this process. Without it the
// Notifier is nil.
func NewNotifier() (*Notifier, error) {
	const variable = "NOTIFY_SOCKET"
	name := os.Getenv(variable)
	if name == "" {
		return nil, nil
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, err
	}
	if name[0] != '/' && name[0] != '@' {
		return nil, fmt.Errorf("%s=%s is neither a path nor an abstract name", variable, name)
	}
	address, err := sys.EncodeUnix(name)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", variable, name, err)
	}
	fd, err := sys.Socket(sys.Unix, sys.Datagram, true)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := sys.Connect(fd, address); err != nil {
		_ = sys.Close(fd)
		return nil, fmt.Errorf("%s=%s: %w", variable, name, os.NewSyscallError("connect", err))
	}
	return &Notifier{fd: fd}, nil
}

// Close ends the notifications.
func (n *Notifier) Close() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = sys.Close(n.fd)
	n.fd = -1
}

// Ready tells that the service has started, or has reloaded. What follows is status text for people, if it is not
// empty.
func (n *Notifier) Ready(status string) error { return n.send(nil, "READY=1", statusLine(status)) }

// Reloading tells that the service reads its configuration again; Ready ends it. The manager has to know when it began.
func (n *Notifier) Reloading(status string) error {
	now := strconv.FormatInt(sys.Monotonic().Microseconds(), 10)
	return n.send(nil, "RELOADING=1", "MONOTONIC_USEC="+now, statusLine(status))
}

// Stopping tells that the service has begun to end.
func (n *Notifier) Stopping(status string) error {
	return n.send(nil, "STOPPING=1", statusLine(status))
}

// Status is one line for people.
func (n *Notifier) Status(text string) error { return n.send(nil, statusLine(text)) }

// Failed tells which error number the service ends with.
func (n *Notifier) Failed(number int, status string) error {
	return n.send(nil, "ERRNO="+strconv.Itoa(number), statusLine(status))
}

// Watchdog tells that the service is alive; see WatchdogInterval.
func (n *Notifier) Watchdog() error { return n.send(nil, "WATCHDOG=1") }

// MainPID tells which process is the service from now on. The unit needs NotifyAccess=all or exec for a successor to
// be heard afterwards.
func (n *Notifier) MainPID(pid int) error { return n.send(nil, "MAINPID="+strconv.Itoa(pid)) }

// ExtendTimeout asks for more time to start, to reload or to stop, from now on.
func (n *Notifier) ExtendTimeout(by time.Duration) error {
	return n.send(nil, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(by.Microseconds(), 10))
}

// Store has the manager keep descriptors, which come back by Activated under the name when the service is started
// again. The unit needs FileDescriptorStoreMax. poll has those that report an error or a hang-up dropped.
func (n *Notifier) Store(name string, poll bool, descriptors ...int) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	if len(descriptors) == 0 || len(descriptors) > MostDescriptors {
		return fmt.Errorf("%d descriptors to be stored; it can be 1 to %d at once", len(descriptors), MostDescriptors)
	}
	lines := []string{"FDSTORE=1", "FDNAME=" + name}
	if !poll {
		lines = append(lines, "FDPOLL=0")
	}
	return n.send(descriptors, lines...)
}

// Unstore has the manager close what it keeps under a name.
func (n *Notifier) Unstore(name string) error {
	if err := checkStoreName(name); err != nil {
		return err
	}
	return n.send(nil, "FDSTOREREMOVE=1", "FDNAME="+name)
}

// Barrier waits until the manager has taken everything that was sent before, or the limit is reached
// (os.ErrDeadlineExceeded). A process that tells something and ends needs it: the manager attributes what it reads by
// asking whose process it was.
func (n *Notifier) Barrier(limit time.Duration) error {
	if n == nil {
		return nil
	}
	read, write, err := sys.Pipe()
	if err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	ours := os.NewFile(uintptr(read), "barrier")
	defer func() { _ = ours.Close() }()
	err = n.send([]int{write}, "BARRIER=1")
	_ = sys.Close(write)
	if err != nil {
		return err
	}
	if err := ours.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	// The manager closes its end without having written.
	if _, err = ours.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the service manager has not answered within %s: %w", limit, err)
	}
	return nil
}

func (n *Notifier) send(descriptors []int, lines ...string) error {
	if n == nil {
		return nil
	}
	text := strings.Builder{}
	for _, line := range lines {
		if line != "" {
			text.WriteString(line)
			text.WriteByte('\n')
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return os.ErrClosed
	}
	if err := sys.SendDescriptor(n.fd, []byte(text.String()), descriptors...); err != nil {
		return fmt.Errorf("notify the service manager: %w", os.NewSyscallError("sendmsg", err))
	}
	return nil
}

// statusLine is STATUS= on one line: a line break would begin another assignment.
func statusLine(text string) string {
	if text == "" {
		return ""
	}
	oneLine := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	return "STATUS=" + oneLine
}

// checkStoreName holds a name to the rule of FDNAME.
func checkStoreName(name string) error {
	const longest = 255
	bad := func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' }
	if name == "" || len(name) > longest || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q is no name for stored descriptors", name)
	}
	return nil
}
