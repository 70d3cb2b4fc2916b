package doctor

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// TestTCPMemoryFakeProc: the limit is the whole host's, so it is made small in a /proc of the test's own.
func TestTCPMemoryFakeProc(t *testing.T) {
	root := t.TempDir()
	now := time.Unix(1000, 0)
	h := &Host{Proc: filepath.Join(root, "proc"), Now: func() time.Time { return now }}
	pages := func(pages string) {
		put(t, root, "proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 9 mem "+pages+"\n")
	}
	counters := func(pressures, aborted string) {
		put(t, root, "proc/net/netstat", "TcpExt: TCPMemoryPressures TCPAbortOnMemory\nTcpExt: "+pressures+" "+aborted+"\n")
	}
	put(t, root, "proc/sys/net/ipv4/tcp_mem", "500\t800\t1000\n")
	put(t, root, "proc/meminfo", "MemTotal:       24000000 kB\n")
	counters("3", "5") // long ago
	pages("600")
	h.Sample()
	now = now.Add(time.Second)
	isWell(t, h, tcpMemory)
	pages("700")
	onlyFinding(t, h, tcpMemory, Warning, "700 of 1000 pages", "pressure from 800 on")
	pages("790")
	onlyFinding(t, h, tcpMemory, Warning, "790 of 1000 pages")
	pages("810")
	onlyFinding(t, h, tcpMemory, Hurting, "do not read")
	pages("1000")
	f := onlyFinding(t, h, tcpMemory, Outage, "1000 of 1000 pages", "sysctl -w net.ipv4.tcp_mem='750000 1125000 1500000'")
	pages("10")
	counters("4", "5")
	onlyFinding(t, h, tcpMemory, Hurting, "TCPMemoryPressures: 1 more")
	counters("4", "6")
	onlyFinding(t, h, tcpMemory, Outage, "TCPAbortOnMemory: 1 more")
	h.Sample()
	now = now.Add(time.Second)
	pages("1000")
	put(t, root, "proc/sys/net/ipv4/tcp_mem", f.Settings[0].Want)
	isWell(t, h, tcpMemory)
}

func TestSocketBuffers(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	isWell(t, h, socketBuffers)
	for _, test := range []struct{ key, value, title string }{
		{"net.ipv4.tcp_rmem", "4096 16384 65536", "receive buffers grow to 64 KiB at most"},
		{"net.ipv4.tcp_wmem", "4096 16384 65536", "send buffers grow to 64 KiB at most"},
		{"net.ipv4.tcp_moderate_rcvbuf", "0", "do not grow"},
	} {
		setSysctl(t, test.key, test.value)
		f := onlyFinding(t, h, socketBuffers, Warning, test.title, test.key)
		applySettings(t, f)
		isWell(t, h, socketBuffers)
	}
	setSysctl(t, "net.ipv4.tcp_rmem", "4096 4194304 8388608")
	f := onlyFinding(t, h, socketBuffers, Warning, "receive buffers begin with 4 MiB")
	shell(t, f.Fix)
	isWell(t, h, socketBuffers)
}

// TestPruning: programs that do not read what comes into small buffers of their own choice. The window was promised
// before they chose.
func TestPruning(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	h.Sample()
	s := newService(t, "127.0.0.1:7000")
	const count, writes, size = 40, 100, 1000
	s.fill(count)
	isWell(t, h, socketBuffers)
	for i, client := range s.dialled {
		descriptor(t, s.accepts[i], func(fd int) error {
			return sys.SetOption(fd, sys.Option{Level: sys.LevelSocket, Name: sys.ReceiveBuffer, Value: 4096})
		})
		descriptor(t, client, func(fd int) (err error) {
			for i := 0; i < writes && err == nil; i++ {
				_, err = sys.Send(fd, make([]byte, size), 0)
			}
			if err == syscall.EAGAIN {
				err = nil
			}
			return err
		})
	}
	await(t, h, socketBuffers, Warning)
	onlyFinding(t, h, socketBuffers, Warning, "no room", "PruneCalled", "SO_RCVBUF")
	s.end()
	h.Sample()
	isWell(t, h, socketBuffers)
}

func TestWindowScaling(t *testing.T) {
	if !apart(t) {
		return
	}
	addElsewhere(t)
	h := This(0)
	s := newService(t, elsewhere+":7000")
	s.fill(unscaledFew)
	isWell(t, h, windowScaling)
	setSysctl(t, "net.ipv4.tcp_window_scaling", "0")
	s.fill(unscaledFew)
	f := onlyFinding(t, h, windowScaling, Warning, "window scaling is off", "20 of 40 connections")
	applySettings(t, f)
	onlyFinding(t, h, windowScaling, Info, "20 of 40 connections are without window scaling", "began while it was off")
	s.end()
	s.fill(unscaledFew)
	isWell(t, h, windowScaling)
}

func TestFastOpen(t *testing.T) {
	if !apart(t) {
		return
	}
	h := This(0)
	h.Sample()
	isWell(t, h, fastOpen)
	setSysctl(t, "net.ipv4.tcp_fastopen", "0")
	f := onlyFinding(t, h, fastOpen, Info, "off for all programs")
	applySettings(t, f)
	isWell(t, h, fastOpen)
}
