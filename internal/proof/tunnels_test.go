package proof

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/config"
)

// role is what this program is when it is not the one that tests: a process beside it, with descriptors and memory of
// its own. It says its address on standard output and ends with its standard input.
const role = "PROOF_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // what Go opens for its first socket is no leak
			_ = l.Close()
		}
		os.Exit(m.Run())
	case "upstream":
		serveTunnels()
	case "proxy":
		serveProxy(os.Args[1:])
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// A process is one beside this.
type process struct {
	command *exec.Cmd
	address string
}

// launch starts this program in a role.
func launch(t *testing.T, as string, arguments ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(context.Background(), program, arguments...)
	command.Env = append(os.Environ(), role+"="+as)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", as, err)
	}
	return &process{command, strings.TrimSpace(address)}
}

// memory is what the process holds of its own.
func (p *process) memory(t *testing.T) int64 {
	t.Helper()
	return anonymous(t, fmt.Sprint(p.command.Process.Pid))
}

const (
	webSocketRequest = "GET /tunnel HTTP/1.1\r\nHost: proof\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	webSocketAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	frameBytes = 100
)

// serveTunnels accepts WebSockets and sends their frames back as they are.
func serveTunnels() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buffer := make([]byte, 1024) // it is small: there are thousands
				for read := ""; !strings.HasSuffix(read, "\r\n\r\n"); {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					read += string(buffer[:n])
				}
				_, _ = io.WriteString(c, webSocketAnswer)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					_, _ = c.Write(buffer[:n])
				}
			}()
		}
	}()
}

// serveProxy is the proxy alone, with lines of configuration.
func serveProxy(lines []string) {
	host, err := app.Examine()
	if err != nil {
		panic(err)
	}
	overrides := []config.Override{
		{Flag: "test", Path: "upstreams.u", Value: config.UpstreamTo("127.0.0.1:1")},
		{Flag: "test", Path: "routes", Value: []config.Route{config.ProxyRoute("u")}},
	}
	for _, line := range lines {
		overrides = append(overrides, config.SetFlag(line))
	}
	c, _, err := app.Known().Load("", overrides)
	if err != nil {
		panic(err)
	}
	plan, err := app.NewPlan(c, host)
	if err != nil {
		panic(err)
	}
	a, err := app.New(plan, app.Options{
		Version: "proof", Log: slog.New(slog.DiscardHandler),
		Ready: func(a *app.App) { fmt.Println(addressOf(a.URLs()[0])) },
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = a.Serve(context.Background(), nil) }()
}

// TestIdleTunnels holds idle WebSockets in one process, and asks what they cost: its memory, and the time that 64
// active ones beside them take, compared with a proxy that has no others. TUNNELS=15000 holds as many; only from 10,000
// on the figures are judged.
func TestIdleTunnels(t *testing.T) {
	total, active := number(t, "TUNNELS", 300), 64
	upstream := launch(t, "upstream")
	lines := []string{
		"listeners[0].address=127.0.0.1:0", "access_log.format=off", "engine.loops=2", "timeouts.drain=0s",
		"upstreams.u.to=[" + upstream.address + "]", fmt.Sprintf("limits.connections=%d", total+1000),
	}
	full, empty := launch(t, "proxy", lines...), launch(t, "proxy", lines...)
	for _, p := range []*process{full, empty} { // what a first tunnel needs, all have
		closeAll(hold(t, p.address, active))
	}
	first := hold(t, full.address, total/10)
	defer closeAll(first)
	before := settled(t, full)
	rest := hold(t, full.address, total-len(first))
	defer closeAll(rest)
	each := float64(settled(t, full)-before) / float64(len(rest))
	t.Logf("%d idle tunnels: %.0f bytes of memory each, for both sides together", total, each)

	var beside, alone []time.Duration
	for range 3 {
		alone = append(alone, talk(t, empty.address, active))
		beside = append(beside, talk(t, full.address, active))
	}
	slices.Sort(alone)
	slices.Sort(beside)
	t.Logf("p99 of %d active tunnels: %v alone (%v), %v beside them (%v)", active, alone[1], alone, beside[1], beside)
	if total >= 10_000 && each > 600 {
		t.Errorf("an idle tunnel holds %.0f bytes, more than 600", each)
	}
	for i, c := range rest[:min(100, len(rest))] { // they are still there
		if err := pingPong(c, make([]byte, frameBytes)); err != nil {
			t.Fatalf("tunnel %d has ended: %v", i, err)
		}
	}
}

// hold opens tunnels, each of which has carried a frame in both directions.
func hold(t *testing.T, address string, n int) []net.Conn {
	t.Helper()
	held, errs := make([]net.Conn, n), make(chan error, 8)
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			for i := worker; i < n; i += 8 {
				c, err := tunnelTo(address)
				if err != nil {
					errs <- fmt.Errorf("tunnel %d: %w", i, err)
					return
				}
				held[i] = c
			}
		})
	}
	running.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	return held
}

// tunnelTo opens a tunnel.
func tunnelTo(address string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, webSocketRequest); err != nil {
		return nil, err
	}
	var answer strings.Builder
	one := make([]byte, 512)
	for !strings.HasSuffix(answer.String(), "\r\n\r\n") {
		n, err := c.Read(one)
		if err != nil {
			return nil, err
		}
		answer.Write(one[:n])
	}
	if !strings.HasPrefix(answer.String(), "HTTP/1.1 101 ") {
		return nil, fmt.Errorf("no tunnel: %.200q", answer.String())
	}
	if err := pingPong(c, make([]byte, frameBytes)); err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

func pingPong(c net.Conn, frame []byte) error {
	if _, err := c.Write(frame); err != nil {
		return err
	}
	_, err := io.ReadFull(c, frame)
	return err
}

func closeAll(held []net.Conn) {
	for _, c := range held {
		_ = c.Close()
	}
}

// settled is the memory of a process when it has come to rest: the least of some seconds.
func settled(t *testing.T, p *process) int64 {
	t.Helper()
	least := int64(1 << 62)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range number(t, "SETTLE", 5) {
		if now := p.memory(t); now < least {
			least = now
		}
		<-ticker.C
	}
	return least
}

// talk lets active tunnels go back and forth for a while, and gives the 99th percentile of one turn.
func talk(t *testing.T, address string, active int) time.Duration {
	t.Helper()
	tunnels := hold(t, address, active)
	defer closeAll(tunnels)
	length := time.Duration(number(t, "TALK", 200)) * time.Millisecond
	turns := make([][]time.Duration, active)
	var running sync.WaitGroup
	for i, c := range tunnels {
		running.Go(func() {
			frame := make([]byte, frameBytes)
			for end := time.Now().Add(length); time.Now().Before(end); {
				begun := time.Now()
				if err := pingPong(c, frame); err != nil {
					t.Errorf("an active tunnel: %v", err)
					return
				}
				turns[i] = append(turns[i], time.Since(begun))
			}
		})
	}
	running.Wait()
	all := slices.Concat(turns...)
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)*99/100]
}
