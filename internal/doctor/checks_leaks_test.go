package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	direct "github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sockets"
	"github.com/myriad-server/myriad/internal/sys"
)

// descriptor gives a function the descriptor of a connection.
func descriptor(t *testing.T, c net.Conn, use func(fd int) error) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = use(int(fd)) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}

// until waits for a census that has a number of sockets in a state.
func until(t *testing.T, h *Host, state sockets.State, count int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		h.Refresh()
		census, err := h.Census()
		if err != nil {
			t.Fatal(err)
		}
		if census.States[state] == count {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d in %v, not %d", census.States[state], state, count)
		}
		<-time.After(time.Millisecond)
	}
}

// TestCloseWait: a server that never closes is found by name, and is well once it does.
func TestCloseWait(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.fill(leakMany)
	h := This(0)
	isWell(t, h, closeWait)
	closeAll(s.dialled)
	until(t, h, sockets.CloseWait, leakMany)
	self := fmt.Sprintf("doctor.test (%d)", os.Getpid())
	onlyFinding(t, h, closeWait, Warning, self, "keeps 100 connections", "process has not",
		"127.0.0.1:7000 from 127.0.0.1")
	h.PID = os.Getpid()
	onlyFinding(t, h, closeWait, Warning, self)
	h.PID = idleChild(t)
	isWell(t, h, closeWait) // it has none of them
	h.PID = 0
	closeAll(s.accepts) // the fix
	until(t, h, sockets.CloseWait, 0)
	isWell(t, h, closeWait)
}

// TestCloseWaitOnDirectDescriptors: connections that are no descriptors of their process are its own nevertheless, and
// well once their ring is closed.
func TestCloseWaitOnDirectDescriptors(t *testing.T) {
	if !apart(t) {
		return
	}
	if support := probeUring(); !support.OK {
		t.Skipf("there are no direct descriptors without io_uring: %s; %s", support.Why, support.Fix)
	}
	s := newService(t, "127.0.0.1:7000")
	to := s.listener.Addr().(*net.TCPAddr).AddrPort()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	table, err := direct.Open(to, netip.MustParseAddr("127.0.0.2"), leakMany, nil, direct.Answer{})
	if err != nil {
		t.Fatal(err)
	}
	closed := sync.OnceFunc(table.Close)
	defer closed()
	if well, err := table.Each(t.Context(), 0, leakMany, direct.Socket, direct.Connect); well != leakMany {
		t.Fatalf("%d connections: %v", well, err)
	}
	s.accept(leakMany)
	closeAll(s.accepts)
	h := This(0)
	until(t, h, sockets.CloseWait, leakMany)
	onlyFinding(t, h, closeWait, Warning, fmt.Sprintf("doctor.test (%d)", os.Getpid()), "keeps 100 connections")
	closed() // the fix
	until(t, h, sockets.CloseWait, 0)
	isWell(t, h, closeWait)
}

// TestCloseWaitByAge: some that are old are worth more than some that are young. A minute is not waited out here.
func TestCloseWaitByAge(t *testing.T) {
	list := func(count int, quiet time.Duration) (list []Connection) {
		for range count {
			list = append(list, Connection{Quiet: quiet, Unread: 1})
		}
		return list
	}
	for _, test := range []struct {
		list []Connection
		harm Harm
		ok   bool
	}{
		{list(leakFew, time.Second), Info, false},
		{list(1, leftLong), Info, true},
		{list(leakFew, leftLong), Warning, true},
		{append(list(leakMany-1, 0), list(1, time.Hour)...), Warning, true},
		{list(leakLoss, 0), Hurting, true},
	} {
		f, ok := leak(sockets.Process{PID: 7, Name: "leaky"}, test.list)
		if ok != test.ok || ok && f.Harm != test.harm {
			t.Errorf("%d, the first quiet for %v: %v %v", len(test.list), test.list[0].Quiet, f.Harm, ok)
		}
	}
}

// TestCloseWaitInTheAcceptQueue: nobody has these connections yet, so nobody is blamed.
func TestCloseWaitInTheAcceptQueue(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.dial(leakMany)
	closeAll(s.dialled)
	h := This(0)
	until(t, h, sockets.CloseWait, leakMany)
	onlyFinding(t, h, closeWait, Warning, "that no descriptor leads to", "wait in an accept queue")
	s.accept(leakMany)
	closeAll(s.accepts) // the fix
	until(t, h, sockets.CloseWait, 0)
	isWell(t, h, closeWait)
}

// TestEndedSockets: clients that reset, and a server that does not look.
func TestEndedSockets(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	h := This(os.Getpid())
	s.fill(leakMany)
	isWell(t, h, endedSockets)
	for _, client := range s.dialled {
		_ = client.(*net.TCPConn).SetLinger(0)
	}
	closeAll(s.dialled)
	await(t, h, endedSockets, Warning)
	onlyFinding(t, h, endedSockets, Warning, "100 descriptors of connections that are over", "has not noticed")
	isWell(t, h, closeWait) // it looks alike, and is not the same
	closeAll(s.accepts)     // the fix
	isWell(t, h, endedSockets)
}

func TestClosingPeersThatVanished(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.fill(manyClosing)
	h := This(0)
	isWell(t, h, closing)
	for _, client := range s.dialled {
		descriptor(t, client, sys.Deafen)
	}
	closeAll(s.accepts)
	until(t, h, sockets.FinWait1, manyClosing)
	onlyFinding(t, h, closing, Warning, "1000 closed connections whose peer does not acknowledge", "1000 in FIN_WAIT1")
	s.end() // the peers' hosts say that there is nobody
	until(t, h, sockets.FinWait1, 0)
	isWell(t, h, closing)
}

func TestClosingPeersThatDoNotClose(t *testing.T) {
	if !apart(t) {
		return
	}
	s := newService(t, "127.0.0.1:7000")
	s.fill(manyClosing)
	h := This(0)
	closeAll(s.accepts)
	until(t, h, sockets.FinWait2, manyClosing)
	onlyFinding(t, h, closing, Warning, "1000 connections closed here whose peer does not close", "peers leak")
	s.end() // the peers close
	until(t, h, sockets.FinWait2, 0)
	isWell(t, h, closing)
}

// TestOrphansFakeProc: the limit is the whole host's, so it is made small in a /proc of the test's own.
func TestOrphansFakeProc(t *testing.T) {
	root := t.TempDir()
	h := &Host{Proc: filepath.Join(root, "proc"), Now: time.Now}
	put(t, root, "proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 95 tw 0 alloc 9 mem 1\n")
	put(t, root, "proc/sys/net/ipv4/tcp_max_orphans", "100\n")
	f := onlyFinding(t, h, orphans, Hurting, "95 of 100", "last bytes are lost")
	put(t, root, "proc/sys/net/ipv4/tcp_max_orphans", f.Settings[0].Want)
	isWell(t, h, orphans)
}
