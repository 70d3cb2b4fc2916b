package servetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/listen"
	"github.com/myriad-server/myriad/internal/sys"
	"github.com/myriad-server/myriad/serve"
)

// office is a site whose loops dial.
type office struct {
	*server
	t       *testing.T
	dialers chan conn.Dialer
	all     []conn.Dialer
	dialer  conn.Dialer // of one loop
}

// openOffice starts a site, or returns nil if the model cannot dial, which its connections must then say.
func openOffice(t *testing.T, s Suite, configure func(*serve.Site)) *office {
	t.Helper()
	o := &office{t: t, dialers: make(chan conn.Dialer, 64)}
	handler := echoing()
	handler.started = func(d conn.Dialer) { o.dialers <- d }
	o.server = start(t, s, configure, same(handler))
	if s.Site.Driver.Open == nil {
		c := o.server.dial()
		send(t, c, []byte("hello"))
		want(t, c, "hello") // and Dialer was nil
		if len(o.dialers) > 0 {
			t.Error("Started was called")
		}
		_ = c.Close()
		o.stop()
		return nil
	}
	numbers := map[int]bool{}
	for range max(1, s.Site.Limits.Loops) {
		o.dialer = await(t, o.dialers, "Started")
		if numbers[o.dialer.Number()] {
			t.Errorf("two dialers have the number %d", o.dialer.Number())
		}
		numbers[o.dialer.Number()] = true
		o.all = append(o.all, o.dialer)
	}
	return o
}

// on runs f on the thread of the dialer, and waits for it.
func (o *office) on(f func()) {
	o.t.Helper()
	done := make(chan bool, 1)
	if !o.dialer.Do(func() { f(); done <- true }) {
		o.t.Fatal("the thread has ended")
	}
	await(o.t, done, "a call on the thread")
}

// call is the handler of one dialled connection. It checks that it is called as package conn promises.
type call struct {
	script
	t       *testing.T
	dialing bool
	state   string // what came last of all that comes once: "", Opened, Ended, Closed
	got     []byte
	ends    chan error
	open    chan bool
}

// dial begins a call, with its first bytes queued, and lets do have it.
func (o *office) dial(target conn.Target, sc script, first string, do func(c conn.Conn)) *call {
	o.t.Helper()
	h := &call{script: sc, t: o.t, ends: make(chan error, 2), open: make(chan bool, 2)}
	o.on(func() {
		h.dialing = true
		c := o.dialer.Dial(&target, h, h)
		h.dialing = false
		if c.Attached() != h || c.Dialer() != o.dialer {
			h.t.Errorf("%v is attached, the dialer is %v", c.Attached(), c.Dialer())
		}
		if s := c.State(); s != conn.Opening && s != conn.Closing {
			h.t.Errorf("the state is %s after Dial", s)
		}
		c.Write([]byte(first))
		if do != nil {
			do(c)
		}
	})
	return h
}

// end is why the connection was closed.
func (h *call) end() error {
	h.t.Helper()
	return await(h.t, h.ends, "Closed")
}

func (h *call) enter(c conn.Conn, what string, states ...string) {
	if h.dialing || c.Attached() != h {
		h.t.Errorf("%s within Dial: %v; attached is %v", what, h.dialing, c.Attached())
	}
	for _, s := range states {
		if h.state == s {
			return
		}
	}
	h.t.Errorf("%s behind %q", what, h.state)
}

func (h *call) Opened(c conn.Conn) {
	h.enter(c, "Opened", "")
	h.state = "Opened"
	h.open <- true
	if h.opened != nil {
		h.opened(c)
	}
}

func (h *call) Received(c conn.Conn, in []byte) int {
	h.enter(c, "Received", "Opened")
	h.got = append(h.got, in...)
	if h.received != nil {
		h.received(c, in)
	}
	return len(in)
}

func (h *call) Ended(c conn.Conn) {
	h.enter(c, "Ended", "Opened")
	h.state = "Ended"
	if h.ended != nil {
		h.ended(c)
	} else {
		c.Drain()
	}
}

func (h *call) Flushed(c conn.Conn) { h.enter(c, "Flushed", "Opened", "Ended") }

func (h *call) Stopped(c conn.Conn) {
	h.enter(c, "Stopped", "Opened", "Ended")
	if h.stopped != nil {
		h.stopped(c)
	}
}

func (h *call) Expired(c conn.Conn) {
	h.enter(c, "Expired", "", "Opened", "Ended")
	if h.expired != nil {
		h.expired(c)
	}
}

func (h *call) Closed(c conn.Conn, why error) {
	h.enter(c, "Closed", "", "Opened", "Ended")
	h.state = "Closed"
	if h.closed != nil {
		h.closed(c, why)
	}
	h.ends <- why
}

// far is a listener of the test: it sends back what comes, and at the caller's end says goodbye.
type far struct {
	listener net.Listener
	target   conn.Target
	peers    chan net.Addr
	group    sync.WaitGroup
}

func (o *office) listen(network, address string) *far {
	o.t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		o.t.Fatal(err)
	}
	f := &far{listener: l, peers: make(chan net.Addr, 16), target: conn.Target{Path: address}}
	if network == "tcp" {
		f.target = conn.Target{Address: l.Addr().(*net.TCPAddr).AddrPort()}
	}
	f.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.group.Go(func() {
				f.peers <- c.RemoteAddr()
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // without the pipes that would stay open
				_, _ = c.Write([]byte("bye"))
				_ = c.Close()
			})
		}
	})
	return f
}

func (f *far) close() {
	_ = f.listener.Close()
	f.group.Wait()
}

// dial reaches every kind of address, and ends in every way.
func dial(t *testing.T, s Suite) {
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	abstract := fmt.Sprintf("@myriad-dial-%d-%d", sys.Gettid(), time.Now().UnixNano())
	for _, row := range []struct {
		network, address string
		change           func(target *conn.Target)
	}{
		{"tcp", "127.0.0.1:0", nil},
		{"tcp", "127.0.0.1:0", func(target *conn.Target) { // an address in the clothes of the other family
			target.Address = netip.AddrPortFrom(netip.AddrFrom16(target.Address.Addr().As16()), target.Address.Port())
		}},
		{"tcp", "127.0.0.1:0", func(target *conn.Target) {
			target.Source, target.Congestion = netip.MustParseAddr("127.0.0.2"), "system"
			target.KeepAlive, target.UserTimeout = time.Minute, time.Minute
		}},
		{"tcp", "[::1]:0", func(target *conn.Target) { target.Source = netip.IPv6Loopback() }},
		{"unix", filepath.Join(shortFolder(t), "s"), nil},
		{"unix", abstract, nil},
	} {
		if l, err := net.Listen("tcp6", "[::1]:0"); row.address == "[::1]:0" && err != nil {
			t.Logf("%s is left out: %v", row.address, err)
			continue
		} else if err == nil {
			_ = l.Close()
		}
		f := o.listen(row.network, row.address)
		if row.change != nil {
			row.change(&f.target)
		}
		o.callIn(f)
		f.close()
	}
	o.stop()
}

// callIn makes calls that end in each way.
func (o *office) callIn(f *far) {
	o.t.Helper()
	half := func(c conn.Conn) { c.CloseWrite() }
	for _, row := range []struct {
		name string
		do   func(c conn.Conn) // right behind Dial
		sc   script
		want string
		why  error
	}{
		{"closes its half at once", half, script{}, "hellobye", nil},
		{"closes its half when open", nil, script{opened: half}, "hellobye", nil},
		{"drains", nil, script{opened: func(c conn.Conn) { c.Write([]byte(" you")); c.Drain() }}, "", nil},
		{"closes its half, drains", nil, script{opened: func(c conn.Conn) { c.CloseWrite(); c.Drain() }}, "", nil},
		{"aborts", nil, script{opened: func(c conn.Conn) { c.Abort(nil) }}, "", conn.ErrAborted},
		{"drains before it is open", func(c conn.Conn) { c.Drain() }, script{}, "", nil},
		{"aborts before it is open", func(c conn.Conn) { c.Abort(nil) }, script{}, "", conn.ErrAborted},
		{"aborts behind its half", half, script{received: func(c conn.Conn, _ []byte) int {
			c.Abort(nil)
			return 0
		}}, "hello", conn.ErrAborted},
	} {
		h := o.dial(f.target, row.sc, "hello", row.do)
		why := h.end()
		if !errors.Is(why, row.why) || row.want != "" && string(h.got) != row.want && row.why == nil {
			o.t.Errorf("%v, %s: %q came, and it was closed for %v", f.target, row.name, h.got, why)
		}
		for len(h.open) > 0 || len(f.peers) > 0 {
			peer := await(o.t, f.peers, "who called")
			if a, ok := peer.(*net.TCPAddr); ok && f.target.Source.IsValid() && a.AddrPort().Addr() != f.target.Source {
				o.t.Errorf("the call came from %v, not from %v", a, f.target.Source)
			}
			if len(h.open) > 0 {
				<-h.open
			}
		}
	}
}

// full is a listener whose queue is full, so that whoever connects to it waits.
type full struct {
	fd      int
	target  conn.Target
	waiting []int
}

func fullListener(t *testing.T, network string) *full {
	t.Helper()
	f := &full{}
	var raw []byte
	family, err := sys.Unix, error(nil)
	if network == "unix" {
		f.target.Path = fmt.Sprintf("@myriad-full-%d-%d", sys.Gettid(), time.Now().UnixNano())
		raw, err = sys.EncodeUnix(f.target.Path)
	} else {
		raw, family = sys.EncodeAddress(nil, netip.MustParseAddrPort("127.0.0.1:0"))
	}
	if err == nil {
		f.fd, err = sys.Socket(family, sys.Stream, true)
	}
	if err == nil {
		err = errors.Join(sys.Bind(f.fd, raw), sys.Listen(f.fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	if network != "unix" {
		local, err := sys.LocalAddress(f.fd)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ = sys.EncodeAddress(nil, local)
		f.target = conn.Target{Address: local}
	}
	fd, err := sys.Socket(family, sys.Stream, false)
	if err == nil {
		err = sys.Connect(fd, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.waiting = append(f.waiting, fd)
	return f
}

func (f *full) close() {
	for _, fd := range append(f.waiting, f.fd) {
		_ = sys.Close(fd)
	}
}

var errMine = errors.New("it took too long")

// dialInVain meets what does not answer, or not yet.
func dialInVain(t *testing.T, s Suite) {
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	gone := o.listen("tcp", "127.0.0.1:0")
	gone.close()
	for _, row := range []struct {
		target conn.Target
		why    error // nil: any
	}{
		{gone.target, syscall.ECONNREFUSED},
		{conn.Target{Path: "@myriad-nobody"}, syscall.ECONNREFUSED},
		{conn.Target{Path: filepath.Join(shortFolder(t), "absent")}, syscall.ENOENT},
		{conn.Target{Address: gone.target.Address, Source: netip.MustParseAddr("192.0.2.1")}, syscall.EADDRNOTAVAIL},
		{conn.Target{Address: gone.target.Address, Congestion: "no such"}, syscall.ENOENT},
		{conn.Target{Address: gone.target.Address, Source: netip.IPv6Loopback()}, nil},
		{conn.Target{Path: "@" + string(make([]byte, 200))}, nil},
		{conn.Target{}, nil},
	} {
		h := o.dial(row.target, script{}, "lost", nil)
		if why := h.end(); why == nil || row.why != nil && !errors.Is(why, row.why) || len(h.open) > 0 {
			t.Errorf("%v: closed for %v", row.target, why)
		}
	}
	for _, network := range []string{"tcp", "unix"} {
		o.dialFull(network)
	}
	o.stop()
}

// dialFull dials where the queue is full: with a time limit, and until there is room.
func (o *office) dialFull(network string) {
	o.t.Helper()
	f := fullListener(o.t, network)
	defer f.close()
	began := time.Now()
	limited := o.dial(f.target, script{expired: func(c conn.Conn) {
		if c.State() != conn.Opening {
			o.t.Errorf("%s: the state is %s where nobody answers", network, c.State())
		}
		c.Abort(errMine)
	}}, "lost", func(c conn.Conn) { c.SetTimer(int64(50 * time.Millisecond)) })
	patient := o.dial(f.target, script{}, "here", nil)
	if why := limited.end(); !errors.Is(why, errMine) || time.Since(began) < 50*time.Millisecond {
		o.t.Errorf("%s: closed for %v after %v", network, why, time.Since(began))
	}
	if len(patient.open)+len(limited.open) > 0 {
		o.t.Errorf("%s: opened without room in the queue", network)
	}
	fd, err := sys.Accept(f.fd) // the kernel sends a SYN again after a second
	if err != nil {
		o.t.Fatal(err)
	}
	_ = sys.Close(fd)
	await(o.t, patient.open, "Opened")
	fd, err = sys.Accept(f.fd)
	if err != nil {
		o.t.Fatal(err)
	}
	var got [4]byte
	for deadline := time.Now().Add(patience); string(got[:]) != "here"; {
		if _, err := sys.Recv(fd, got[:], 0); err != nil && err != syscall.EAGAIN || time.Now().After(deadline) {
			o.t.Fatalf("%s: %q came, %v", network, got, err)
		}
	}
	_ = sys.Close(fd)
	if why := patient.end(); why != nil {
		o.t.Errorf("%s: closed for %v", network, why)
	}
}

// dialAndStop stops a site that dials: what is being made is waited for, and ends with the deadline.
func dialAndStop(t *testing.T, s Suite) {
	const limit = 400 * time.Millisecond
	o := openOffice(t, s, func(site *serve.Site) { site.Limits.Drain = limit })
	if o == nil {
		return
	}
	f := fullListener(t, "tcp")
	stuck := o.dial(f.target, script{}, "lost", nil)
	tcp := o.listen("tcp", "127.0.0.1:0")
	told := make(chan bool, 1)
	open := o.dial(tcp.target, script{stopped: func(conn.Conn) { told <- true }}, "", nil)
	await(t, open.open, "Opened")
	began := time.Now()
	o.cancel()
	await(t, told, "Stopped")
	late := make(chan bool, 1) // dialled when the stop was told already
	h := o.dial(tcp.target, script{stopped: func(c conn.Conn) { late <- true }}, "hello", nil)
	await(t, late, "Stopped of a late connection")
	for _, h := range []*call{stuck, open, h} {
		if why := h.end(); !errors.Is(why, conn.ErrStopping) || time.Since(began) < limit {
			t.Errorf("closed for %v after %v", why, time.Since(began))
		}
	}
	tcp.close()
	f.close()
	o.stop()
	if o.dialer.Do(func() {}) {
		t.Error("a dialer that has ended takes work")
	}
}

// dialAtLimits dials without descriptors, and more than the limit of connections.
func dialAtLimits(t *testing.T, s Suite) {
	loops := max(1, s.Site.Limits.Loops)
	o := openOffice(t, s, func(site *serve.Site) { site.Limits.Connections = 4 * loops })
	if o == nil {
		return
	}
	soft, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		t.Fatal(err)
	}
	for attempt := 1; ; attempt++ {
		next, err := sys.Socket(sys.Inet4, sys.Stream, true) // poll(2) and select(2) need a limit above what they look at
		if err != nil {
			t.Fatal(err)
		}
		_ = sys.Close(next)
		if err := sys.SetLimit(sys.LimitDescriptors, uint64(next), hard); err != nil {
			t.Fatal(err)
		}
		none := o.dial(conn.Target{Address: netip.MustParseAddrPort("127.0.0.1:1")}, script{}, "lost", nil)
		why := none.end()
		if err := sys.SetLimit(sys.LimitDescriptors, soft, hard); err != nil {
			t.Fatal(err)
		}
		if errors.Is(why, syscall.EMFILE) {
			break
		}
		// What another test leaves behind may be closed at this very moment.
		if !errors.Is(why, syscall.ECONNREFUSED) || attempt == 10 {
			t.Fatalf("without a descriptor: closed for %v", why)
		}
	}
	f := o.listen("tcp", "127.0.0.1:0") // not before: a listener may take EMFILE to heart
	var calls []*call
	var open []conn.Conn
	for range 4 {
		came := make(chan bool, 8)
		received := func(conn.Conn, []byte) int { came <- true; return 0 }
		h := o.dial(f.target, script{received: received}, "hello", func(c conn.Conn) { open = append(open, c) })
		await(t, came, "an answer")
		calls = append(calls, h)
	}
	if why := o.dial(f.target, script{}, "lost", nil).end(); !errors.Is(why, listen.ErrLimit) {
		t.Errorf("beyond the limit: closed for %v", why)
	}
	o.on(func() { open[2].SetIdle(true) })
	h := o.dial(f.target, script{}, "hello", func(c conn.Conn) { open[2] = c })
	await(t, h.open, "Opened, in the room that an idle connection made")
	if why := calls[2].end(); !errors.Is(why, conn.ErrPressure) {
		t.Errorf("the idle connection was closed for %v", why)
	}
	calls[2] = h
	for i := range calls {
		o.on(func() { open[i].Drain() })
		if why := calls[i].end(); why != nil {
			t.Errorf("closed for %v", why)
		}
	}
	f.close()
	o.stop()
}

// every wants calls at intervals, until they are stopped.
func every(t *testing.T, s Suite) {
	o := openOffice(t, s, nil)
	if o == nil {
		return
	}
	const interval = 20 * time.Millisecond
	calls := make(chan time.Duration, 100)
	var last int64
	var stop func()
	o.on(func() {
		last = o.dialer.Now()
		stop = o.dialer.Every(interval, func() {
			calls <- time.Duration(o.dialer.Now() - last)
			last = o.dialer.Now()
		})
	})
	for range 5 {
		if passed := await(t, calls, "a call"); passed < interval {
			t.Errorf("a call after %v", passed)
		}
	}
	o.on(func() { stop() })
	for len(calls) > 0 {
		<-calls
	}
	none(t, calls, 3*interval, "a call behind the stop")
	o.stop()
}
