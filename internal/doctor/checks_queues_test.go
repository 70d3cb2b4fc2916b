package doctor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

// crowd dials without waiting for an answer. It is closed with the test, or before that by what it returns.
func crowd(t *testing.T, address string, count int, prepare func(fd int) error) (leave func()) {
	t.Helper()
	var all []int
	leave = func() {
		for _, fd := range all {
			_ = sys.Close(fd)
		}
		all = nil
	}
	t.Cleanup(func() { leave() })
	raw, _ := sys.EncodeAddress(nil, netip.MustParseAddrPort(address))
	for range count {
		fd, err := sys.Socket(sys.Inet4, sys.Stream, true)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fd)
		if prepare != nil {
			if err := prepare(fd); err != nil {
				t.Fatal(err)
			}
		}
		if err := sys.Connect(fd, raw); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
			t.Fatal(err)
		}
	}
	return leave
}

// TestAcceptQueue: a server that does not accept, with all the backlog that the kernel allows.
func TestAcceptQueue(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, backlogLimit, "4")
	s := newService(t, "127.0.0.1:7000")
	h := This(0)
	h.Sample()
	isWell(t, h, acceptQueue)
	crowd(t, "127.0.0.1:7000", 5, nil)
	await(t, h, acceptQueue, Outage)
	f := onlyFinding(t, h, acceptQueue, Outage, "doctor.test", "accepts too slowly",
		"5 of 5 connections wait at 127.0.0.1:7000", "its backlog is all that the kernel allows")
	crowd(t, "127.0.0.1:7000", 3, nil)
	findings := runCheck(t, h, acceptQueue)
	for deadline := time.Now().Add(10 * time.Second); len(findings) < 2 && time.Now().Before(deadline); {
		findings = runCheck(t, h, acceptQueue)
	}
	if len(findings) != 2 || findings[1].Harm != Outage || !strings.Contains(findings[1].Fix, "named beside this") {
		t.Errorf("after drops: %+v", findings)
	}
	applySettings(t, f)
	s.listen(usualBacklog) // what a program that is started anew does
	h.Sample()
	crowd(t, "127.0.0.1:7000", 8, nil)
	isWell(t, h, acceptQueue)
}

// listen asks for another backlog.
func (s *service) listen(backlog int) {
	s.Helper()
	raw, err := s.listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		s.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) { err = sys.Listen(int(fd), backlog) })
	if controlErr != nil || err != nil {
		s.Fatal(controlErr, err)
	}
}

// TestAcceptQueueOfAStoppedProgram: the cause is told from the state of the process.
func TestAcceptQueueOfAStoppedProgram(t *testing.T) {
	if !apart(t) {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	descriptor := int(file.Fd())
	if err := sys.Listen(descriptor, 4); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sh", "-c", "kill -STOP $$; exit 0")
	child.ExtraFiles = []*os.File{file}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	_ = listener.Close() // only the child has it now
	h := This(child.Process.Pid)
	crowd(t, "127.0.0.1:7000", 5, nil)
	deadline := time.Now().Add(10 * time.Second)
	for h.Refresh(); h.processState(h.PID) != "State: T (stopped)"; h.Refresh() {
		if time.Now().After(deadline) {
			t.Fatal("the child does not stop")
		}
		<-time.After(time.Millisecond)
	}
	await(t, h, acceptQueue, Outage)
	f := onlyFinding(t, h, acceptQueue, Outage, "sh (", "State: T (stopped)", "the program is stopped")
	if out, err := exec.Command("sh", "-c", f.Fix).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	h.PID = 0
	isWell(t, h, acceptQueue)
}

func TestAcceptQueueOfAUnixSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	listener, err := sys.Socket(sys.Unix, sys.Stream, true)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(listener)
	raw, err := sys.EncodeUnix(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sys.Bind(listener, raw), sys.Listen(listener, 2)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		client, err := sys.Socket(sys.Unix, sys.Stream, true)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(client)
		if err := sys.Connect(client, raw); err != nil {
			t.Fatal(err)
		}
	}
	h := This(os.Getpid())
	onlyFinding(t, h, acceptQueue, Outage, "3 of 3 connections wait at "+name, "up to ")
	for range 3 {
		fd, err := sys.Accept(listener)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(fd)
	}
	isWell(t, h, acceptQueue)
}

func TestBacklogLimit(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, backlogLimit, "128")
	h := This(0)
	f := onlyFinding(t, h, backlogCeilings, Warning, "more than 128 connections waiting")
	applySettings(t, f)
	isWell(t, h, backlogCeilings)
	s := newService(t, "127.0.0.1:7000")
	h.PID = os.Getpid()
	isWell(t, h, backlogCeilings)
	s.listen(511)
	onlyFinding(t, h, backlogCeilings, Info, "asked for a backlog of 511 at 127.0.0.1:7000")
	s.listen(smallBacklog)
	isWell(t, h, backlogCeilings)
}

func TestSynQueue(t *testing.T) {
	if !apart(t) {
		return
	}
	setSysctl(t, backlogLimit, "4")
	setSysctl(t, synCookies, "0")
	s := newService(t, "127.0.0.1:7000")
	h := This(0)
	h.Sample()
	f := onlyFinding(t, h, synQueue, Warning, "SYN cookies are off")
	leave := crowd(t, "127.0.0.1:7000", 8, sys.Deafen)
	until(t, h, sockets.SynReceived, 5) // one more than the backlog
	await(t, h, synQueue, Outage)
	onlyFinding(t, h, synQueue, Outage, "handshakes were dropped", "5 in SYN_RECV", "without SYN cookies")
	applySettings(t, f)
	leave() // who was dropped would try again
	h.Sample()
	isWell(t, h, synQueue)
	leave = crowd(t, "127.0.0.1:7000", 8, sys.Deafen)
	await(t, h, synQueue, Warning)
	onlyFinding(t, h, synQueue, Warning, "handshakes were answered with SYN cookies", "too small")
	leave()
	setSysctl(t, backlogLimit, "4096")
	s.listen(usualBacklog)
	h.Sample()
	crowd(t, "127.0.0.1:7000", 8, sys.Deafen)
	isWell(t, h, synQueue)
}
