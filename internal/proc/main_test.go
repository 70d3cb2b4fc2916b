package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/myriad-server/myriad/internal/sys"
)

// patience is when a test that waits for an event calls it a hang.
const patience = 30 * time.Second

const roleVariable = "PROC_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(roles[role]())
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or every child under the race detector ends a second later
	goleak.VerifyTestMain(m)
}

// roles are what the test binary does as a child.
var roles = map[string]func() int{
	"ready": func() int {
		own := adopt()
		_ = own.Ready()
		<-own.Orphaned()
		return 7
	},
	"failing": func() int {
		_ = adopt().Fail(errors.New("the port is taken\nby another"))
		return 3
	},
	"silent": func() int { return 4 },
	"mute": func() int { // it lives, and never says anything
		<-adopt().Orphaned()
		return 0
	},
	"stubborn": func() int {
		own := adopt()
		signal.Ignore(syscall.SIGTERM)
		_ = own.Ready()
		<-own.Orphaned()
		return 0
	},
	"echo": func() int { // messages come back, and the descriptors are counted
		own := adopt()
		_ = own.Ready()
		for {
			m, err := own.Control().Receive(context.Background())
			if err != nil {
				return 0
			}
			m.Payload = append(m.Payload, fmt.Sprint(" ", len(m.Descriptors))...)
			_ = own.Control().Send(context.Background(), m)
			m.Close()
		}
	},
	"worker": func() int { // it writes on the board until it is killed
		own := adopt()
		fd, _ := own.File("board")
		board, err := OpenBoard(fd)
		if err != nil {
			_ = own.Fail(err)
			return 1
		}
		slot, err := board.Claim(1, Identity{PID: os.Getpid(), Worker: 9, Generation: 2, Started: time.Unix(5, 6), Loops: 2})
		if err != nil {
			_ = own.Fail(err)
			return 1
		}
		for i := range uint64(2) {
			slot.Loop(int(i)).Show(Figures{Open: 10 + i, Accepted: 100, Requests: 1000, Turns: 3})
			slot.Loop(int(i)).Beat()
		}
		slot.SetState(Serving)
		_ = own.Ready()
		<-own.Orphaned()
		return 0
	},
	"family": func() int { // it may start nothing
		own := adopt()
		_, err := Start(Command{Path: self(), Env: []string{roleVariable + "=silent"}})
		if errors.Is(err, ErrTooDeep) {
			// What it inherited cannot be inherited again by an accident either.
			_, err = Adopt()
		}
		if errors.Is(err, ErrNotChild) {
			_ = own.Ready()
			return 0
		}
		_ = own.Fail(fmt.Errorf("started, or %w", err))
		return 1
	},
	"parent": func() int { // as a peer it may start a worker, whose pid it tells; then it waits to be killed
		own := adopt()
		child, err := Start(Command{Path: self(), Env: []string{roleVariable + "=mourner"}, Files: own.Files()})
		if err == nil {
			err = child.AwaitReady(patience)
		}
		if err != nil {
			_ = own.Fail(err)
			return 1
		}
		_ = own.Ready()
		select {}
	},
	"mourner": func() int { // it writes into the pipe that it inherited when it is an orphan
		own := adopt()
		fd, _ := own.File("pipe")
		_ = own.Ready()
		<-own.Orphaned()
		_, _ = sys.Send(fd, []byte("orphaned"), 0)
		return 0
	},
	"descriptors": func() int { // which descriptors it has
		own := adopt()
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 1
		}
		var list string
		for _, n := range names {
			target, _ := os.Readlink("/proc/self/fd/" + n.Name())
			list += n.Name() + " " + target + "\n"
		}
		fd, _ := own.File("pipe")
		_, _ = os.NewFile(uintptr(fd), "pipe").WriteString(list)
		_ = own.Ready()
		return 0
	},
	"pidfile": func() int { // it holds the pid file that is its environment's
		own := adopt()
		if _, err := OpenPIDFile(os.Getenv("PROC_TEST_FILE")); err != nil {
			_ = own.Fail(err)
			return 1
		}
		_ = own.Ready()
		<-own.Orphaned()
		return 0
	},
	"busy": func() int { // it uses processor time
		own := adopt()
		for used := time.Duration(0); used < 50*time.Millisecond; {
			used, _ = sys.ProcessTime(os.Getpid())
		}
		_ = own.Ready()
		<-own.Orphaned()
		return 0
	},
}

func adopt() *Inherited {
	own, err := Adopt()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	return own
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// command runs the test binary in a role.
func command(role string, files ...Named) Command {
	return Command{Path: self(), Env: append(os.Environ(), roleVariable+"="+role), Stderr: os.Stderr, Files: files}
}

// launch starts a child that is killed and closed with the test.
func launch(t *testing.T, c Command) *Child {
	t.Helper()
	child, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := child.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		awaitDeath(t, child)
		child.Close()
	})
	return child
}

func awaitDeath(t *testing.T, child *Child) Ending {
	t.Helper()
	select {
	case <-child.Died():
	case <-time.After(patience):
		t.Fatalf("process %d did not end within %s", child.PID(), patience)
	}
	return child.Ending()
}

// leaksNothing checks at the test's end that as many descriptors are open as now.
func leaksNothing(t *testing.T) {
	t.Helper()
	// The poller of the runtime has descriptors of its own, from its first use on.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = read.Close(), write.Close()
	before := openDescriptors(t)
	t.Cleanup(func() {
		if after := openDescriptors(t); after != before {
			t.Errorf("%d descriptors were open before and %d are after", before, after)
		}
	})
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// pipe is one whose write end is for a child.
func pipe(t *testing.T) (read *os.File, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	return read, write
}

func readAll(t *testing.T, read *os.File) string {
	t.Helper()
	if err := read.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
