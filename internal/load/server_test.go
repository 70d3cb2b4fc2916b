package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a server in this process that counts what it is asked, and answers as its test wants it to.
type fake struct {
	listener net.Listener
	packet   net.PacketConn
	accepted atomic.Int64
	asked    atomic.Int64
	gone     atomic.Int64 // connections that ended
	group    sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
}

// errHangUp ends a connection in order, errReset with a reset.
var (
	errHangUp = errors.New("hang up")
	errReset  = errors.New("reset")
)

// serve runs a server whose connections are each given to talk, which returns when the connection is to end.
func serve(t *testing.T, network string, talk func(f *fake, c net.Conn) error) *fake {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{listener: l, open: map[net.Conn]bool{}}
	f.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.accepted.Add(1)
			f.mu.Lock()
			f.open[c] = true
			f.mu.Unlock()
			f.group.Go(func() {
				if errors.Is(talk(f, c), errReset) {
					if tcp, ok := c.(*net.TCPConn); ok {
						_ = tcp.SetLinger(0)
					}
				}
				_ = c.Close()
				f.mu.Lock()
				delete(f.open, c)
				f.mu.Unlock()
				f.gone.Add(1)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for c := range f.open {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.group.Wait()
	})
	return f
}

// web runs an HTTP server; answer is called for every request, numbered from 1 in the order of arrival.
func web(t *testing.T, answer func(w io.Writer, r *http.Request, n int64) error) *fake {
	return webOn(t, "tcp", answer)
}

func webOn(t *testing.T, network string, answer func(w io.Writer, r *http.Request, n int64) error) *fake {
	t.Helper()
	return serve(t, network, func(f *fake, c net.Conn) error {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return err
			}
			if err := answer(c, r, f.asked.Add(1)); err != nil {
				return err
			}
			if r.Close {
				return errHangUp
			}
		}
	})
}

const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func good(w io.Writer, _ *http.Request, _ int64) error {
	_, err := io.WriteString(w, hello)
	return err
}

func say(text string, then error) func(io.Writer, *http.Request, int64) error {
	return func(w io.Writer, _ *http.Request, _ int64) error {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return then
	}
}

// echo talks as an echo server does, and counts the bytes.
func echo(f *fake, c net.Conn) error {
	b := make([]byte, 32<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		f.asked.Add(int64(n))
		if _, err := c.Write(b[:n]); err != nil {
			return err
		}
	}
}

// datagramEcho runs a UDP server that gives every datagram to answer; nil is no answer.
func datagramEcho(t *testing.T, answer func(p []byte, n int64) []byte) *fake {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{packet: c}
	f.group.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if p := answer(b[:n], f.asked.Add(1)); p != nil {
				_, _ = c.WriteTo(p, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		f.group.Wait()
	})
	return f
}

// target is the fake as a target.
func (f *fake) target(t *testing.T, scheme string) Target {
	t.Helper()
	var text string
	switch {
	case f.packet != nil:
		text = "udp://" + f.packet.LocalAddr().String()
	case f.listener.Addr().Network() == "unix":
		text = strings.TrimPrefix(scheme+"+", "unix+") + "unix:" + f.listener.Addr().String()
		text = strings.TrimPrefix(text, "tcp+")
	default:
		text = scheme + "://" + f.listener.Addr().String()
	}
	target, err := ParseTarget(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// plan is a short run of a few connections.
func (f *fake) plan(t *testing.T, scheme string) Plan {
	p := Default()
	p.Target = f.target(t, scheme)
	p.Connections, p.Duration, p.Timeout = 8, 200*time.Millisecond, 5*time.Second
	return p
}

// perform runs a plan, and checks what must hold for every run.
func perform(t *testing.T, p Plan) *Report {
	t.Helper()
	r, err := Run(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests.Begun != r.Requests.Good+r.Requests.Failed {
		t.Errorf("%d begun are not %d good and %d failed", r.Requests.Begun, r.Requests.Good, r.Requests.Failed)
	}
	if q := r.Requests; p.Open() && q.Due != q.Begun+q.Dropped+q.Left {
		t.Errorf("%d due are not %d begun, %d dropped and %d left", q.Due, q.Begun, q.Dropped, q.Left)
	}
	var byCause uint64
	for cause, n := range r.Errors {
		if !strings.HasPrefix(cause, "connect: ") && !strings.HasPrefix(cause, "idle") || p.PerConnect == 1 {
			byCause += n
		}
	}
	if byCause < r.Requests.Failed && p.PerConnect != 1 && !hasConnectError(r) {
		t.Errorf("%d failed, and causes are told of %d: %v", r.Requests.Failed, byCause, r.Errors)
	}
	return r
}

func hasConnectError(r *Report) bool {
	for cause := range r.Errors {
		if strings.HasPrefix(cause, "connect: ") {
			return true
		}
	}
	return false
}

func (r *Report) String() string {
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// unused is an address that nobody listens at.
func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.20:0") // where no client gets it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return netip.MustParseAddrPort(fmt.Sprint(l.Addr()))
}
