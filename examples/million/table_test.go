package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/sys"
)

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
	testAnswer  = statusOK + "Content-Length: 2\r\n\r\nhi"
)

var tablesMade int

func openTestTable(t *testing.T, answers func(int) int) (*table, uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", loopbackHost+":0")
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
	table, err := openTable(target, source, testSlots, []byte(testRequest), answer{len(testAnswer), []byte("hi")})
	if err != nil {
		var lacks sys.RingLacks
		if why := sys.RingsDisabled(); why > 0 || errors.As(err, &lacks) {
			t.Skipf("the client needs io_uring of Linux 6.11 or newer, allowed by kernel.io_uring_disabled: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(table.release)
	return table, target.Port()
}

func TestEveryConnectionIsAskedAndCounted(t *testing.T) {
	table, port := openTestTable(t, func(int) int { return 3 })
	for _, phase := range []struct{ first, last step }{{stepSocket, stepReceive}, {stepSend, stepReceive}} {
		if well, err := table.each(t.Context(), 0, testSlots, phase.first, phase.last); well != testSlots || err != nil {
			t.Fatalf("%s: %d of %d went well: %v", stepNames[phase.first], well, testSlots, err)
		}
	}
	for _, end := range []struct{ local, remote uint16 }{{port, 0}, {0, port}} {
		if n, err := sys.Established(end.local, end.remote); n != testSlots || err != nil {
			t.Errorf("the kernel lists %d connections with ports %v: %v", n, end, err)
		}
	}
	if well, err := table.each(t.Context(), 0, testSlots, stepClose, stepClose); well != testSlots || err != nil {
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
	if well, err := table.each(t.Context(), 0, testSlots, stepSocket, stepReceive); well != testSlots || err != nil {
		t.Fatalf("%d of %d connected: %v", well, testSlots, err)
	}
	well, err := table.each(t.Context(), 0, testSlots, stepSend, stepReceive)
	if met := (*failure)(nil); well != testSlots-lost || !errors.As(err, &met) {
		t.Errorf("%d of %d answered, %d were closed by the server: %v", well, testSlots, lost, err)
	}
	table.answer.body = []byte("ho")
	well, err = table.each(t.Context(), 0, testSlots, stepSend, stepReceive)
	if well != 0 || !errors.Is(err, errAnswer) {
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
	if well, err := table.each(t.Context(), 0, testSlots, stepSocket, stepReceive); well != testSlots || err != nil {
		t.Fatalf("%d of %d connected: %v", well, testSlots, err)
	}
	if table.tries[7] != 1 || len(table.tries) != 1 {
		t.Errorf("tries %v, only the eighth connection had to try twice", table.tries)
	}
}

func TestVerdict(t *testing.T) {
	good := func() *report {
		r := newReport(options{Connections: 100, Baseline: 10, Active: 2, Rounds: 1, Ratio: 1.1, Memory: 1 << 20}, machine{})
		all := census{107, 107, 107, 107}
		r.Held, r.Again, r.Asked, r.Answered, r.Stopped, r.Limit = all, all, 106, 106, "exit code 0", descriptors
		control, own := sample{PerRequest: 5, Late: 100}, sample{PerRequest: 5.4, Late: 105}
		r.Beside = map[string][]sample{groupControl: {control}, groupFirst: {own}, groupSpread: {own}, groupLast: {own}}
		r.Before = r.Beside
		return r
	}
	for name, spoil := range map[string]func(*report){
		"":                 func(*report) {},
		"held":             func(r *report) { r.Held.Client-- },
		"RLIMIT_NOFILE":    func(r *report) { r.Limit++ },
		"memory":           func(r *report) { r.Peak.Peak = 2 << 20 },
		"processor time":   func(r *report) { r.Beside[groupFirst][0].PerRequest = 5.6 },
		"p99":              func(r *report) { r.Beside[groupFirst][0].Late = 111 },
		"answered":         func(r *report) { r.Answered-- },
		"ended in order":   func(r *report) { r.Stopped = "exit code 1" },
		"the kernel":       func(r *report) { r.Settled = "orphans are left" },
		"connecting, with": func(r *report) { r.Options.Rate = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			spoil(r)
			r.judge()
			text, _, err := r.render()
			if err != nil {
				t.Fatal(err)
			}
			if r.Passed != (name == "") {
				t.Errorf("passed %t\n%s", r.Passed, text)
			}
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "FAIL") && (name == "" || !strings.Contains(line, name)) {
					t.Errorf("unexpected %s", fmt.Sprint(line))
				}
			}
		})
	}
}
