package crowd

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// answerOf is the answer of the echoer, with a body.
func answerOf(body string) Answer {
	return Answer{Size: len(testAnswer), Good: func(p []byte) bool { return strings.HasSuffix(string(p), body) }}
}

const testSlots = 300

// echoer answers every request in the way of the server, and closes the connection after the answers that it is told.
type echoer struct {
	net.Listener
	answers func(connection int) int
}

func (e echoer) serve() {
	for i := 0; ; i++ {
		c, err := e.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			text := make([]byte, len(testRequest))
			for range e.answers(i) {
				if _, err := io.ReadFull(c, text); err != nil || string(text) != testRequest {
					return
				}
				_, _ = io.WriteString(c, testAnswer)
			}
		}()
	}
}

const (
	testRequest = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	testAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
)

var tablesMade int

func openTestTable(t *testing.T, answers func(int) int) (*Table, uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go echoer{l, answers}.serve()
	runtime.LockOSThread() // the table is its thread's; the thread ends with the test
	target := netip.MustParseAddrPort(l.Addr().String())
	// An address for each table, because the kernel remembers the ports of closed connections for a minute.
	tablesMade++
	pid := os.Getpid()
	source := netip.AddrFrom4([4]byte{127, byte(1 + pid>>8&0x7f), byte(pid), byte(1 + tablesMade%250)})
	table, err := Open(target, source, testSlots, []byte(testRequest), answerOf("hi"))
	if err != nil {
		var lacks sys.RingLacks
		if why := sys.RingsDisabled(); why > 0 || errors.As(err, &lacks) {
			t.Skipf("the client needs io_uring of Linux 6.11 or newer, allowed by kernel.io_uring_disabled: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table, target.Port()
}

func TestEveryConnectionIsAskedAndCounted(t *testing.T) {
	table, port := openTestTable(t, func(int) int { return 3 })
	for _, phase := range []struct{ first, last Step }{{Socket, Receive}, {Send, Receive}} {
		if well, err := table.Each(t.Context(), 0, testSlots, phase.first, phase.last); well != testSlots || err != nil {
			t.Fatalf("%s: %d of %d went well: %v", stepNames[phase.first], well, testSlots, err)
		}
	}
	for _, end := range []struct{ local, remote uint16 }{{port, 0}, {0, port}} {
		if n, err := sys.Established(end.local, end.remote); n != testSlots || err != nil {
			t.Errorf("the kernel lists %d connections with ports %v: %v", n, end, err)
		}
	}
	if well, err := table.Each(t.Context(), 0, testSlots, Finish, Finish); well != testSlots || err != nil {
		t.Errorf("%d of %d were closed: %v", well, testSlots, err)
	}
	if n, err := sys.Established(0, port); n != 0 || err != nil {
		t.Errorf("the kernel lists %d connections after the end: %v", n, err)
	}
}

func TestALostConnectionIsNoticed(t *testing.T) {
	const lost = 3
	table, _ := openTestTable(t, func(i int) int {
		if i < lost {
			return 1
		}
		return 3
	})
	if well, err := table.Each(t.Context(), 0, testSlots, Socket, Receive); well != testSlots || err != nil {
		t.Fatalf("%d of %d connected: %v", well, testSlots, err)
	}
	well, err := table.Each(t.Context(), 0, testSlots, Send, Receive)
	if met := (*Failure)(nil); well != testSlots-lost || !errors.As(err, &met) {
		t.Errorf("%d of %d answered, %d were closed by the server: %v", well, testSlots, lost, err)
	}
	table.answer = answerOf("ho")
	well, err = table.Each(t.Context(), 0, testSlots, Send, Receive)
	if well != 0 || !errors.Is(err, ErrAnswer) {
		t.Errorf("%d answers were as expected, and none should have been: %v", well, err)
	}
}

func TestAPortInUseIsPassedOver(t *testing.T) {
	table, _ := openTestTable(t, func(int) int { return 1 })
	taken, err := net.Listen("tcp4", netip.AddrPortFrom(table.source, table.port(7)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if well, err := table.Each(t.Context(), 0, testSlots, Socket, Receive); well != testSlots || err != nil {
		t.Fatalf("%d of %d connected: %v", well, testSlots, err)
	}
	if table.tries[7] != 1 || len(table.tries) != 1 {
		t.Errorf("tries %v, only the eighth connection had to try twice", table.tries)
	}
}

// TestBusy keeps connections at work, and takes whatever comes first as the answer.
func TestBusy(t *testing.T) {
	table, _ := openTestTable(t, func(int) int { return 1 << 30 })
	if well, err := table.Each(t.Context(), 0, testSlots, Socket, Connect); well != testSlots || err != nil {
		t.Fatalf("%d of %d connected: %v", well, testSlots, err)
	}
	table.answer.Size = 0
	answers := 0
	err := table.Busy(t.Context(), 50*time.Millisecond, func(took time.Duration) {
		if answers++; took <= 0 {
			t.Errorf("an answer took %v", took)
		}
	})
	if err != nil || answers < testSlots {
		t.Errorf("%d answers: %v", answers, err)
	}
}
