package serve

import (
	"os"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// gate is where a connection waits. There are two: one in which the thread itself
// blocks, and one that hands the wait to Go's runtime.
type gate interface {
	// open takes over a descriptor.
	open(c *connection, fd int) error
	// await returns when there may be something to do: input was received (with
	// connection.receive), output can be sent, somebody called wake, the time (as
	// Blocking.clock has it; zero is never) has come, or for no reason.
	await(c *connection, read, write bool, until int64) error
	// hear makes sure that wake is heard. Only the connection's own thread of control
	// calls it.
	hear()
	// wake ends the wait in progress, or the next one. disturb does so too, also where
	// hear was not called, but what the peer sends from then on may be lost. Both are
	// called with connection.mu held, from any goroutine.
	wake()
	disturb()
	// close closes the descriptor. connection.mu is held.
	close()
}

// deafWait is how long a thread waits at most that cannot be woken, because there was
// no descriptor left to do it with.
const deafWait = int64(20 * time.Millisecond)

// threadGate blocks in ppoll(2). What wakes it is an eventfd, made when somebody first
// may want to: a connection that nobody refers to costs one descriptor.
type threadGate struct {
	site *Blocking
	list []sys.Await
	fd   int
	bell int // an eventfd, kept with the seat; -1 if there is none
	deaf bool
}

func (g *threadGate) open(_ *connection, fd int) error {
	g.fd = fd
	return nil
}

func (g *threadGate) await(c *connection, read, write bool, until int64) error {
	if read && c.flags&eager != 0 && c.receive(g.fd) {
		return nil
	}
	socket := sys.Await{FD: -1}
	if read {
		socket.FD, socket.Want = int32(g.fd), sys.Readable
	}
	if write {
		socket.FD, socket.Want = int32(g.fd), socket.Want|sys.Writable
	}
	news := c.at.bell
	switch {
	case c.flags&told != 0:
		news = g.site.killBell
	case c.tellAt != 0:
		news = g.site.stopBell
	}
	list := append(g.list[:0], socket, sys.Await{FD: int32(g.bell), Want: sys.Readable},
		sys.Await{FD: int32(news), Want: sys.Readable})
	ns := int64(-1)
	if until != 0 {
		ns = max(0, until-g.site.clock())
	}
	if g.deaf && (ns < 0 || ns > deafWait) {
		ns = deafWait
	}
	if since := c.idle.Load(); since > 0 && c.now >= since+grace {
		if doorstep := g.site.doorstep.Load(); doorstep != nil {
			list = append(list, *doorstep...)
		}
	}
	g.list = list
	if _, err := sys.AwaitAny(list, ns); err != nil {
		return os.NewSyscallError("ppoll", err)
	}
	if list[1].Found != 0 {
		sys.Quiet(g.bell)
	}
	if len(list) > 3 && list[3].Found != 0 {
		sys.Quiet(int(list[3].FD)) // there is another doorstep
	}
	if read && list[0].Found != 0 {
		c.receive(g.fd)
	}
	return nil
}

func (g *threadGate) hear() {
	if g.bell >= 0 {
		return
	}
	bell, err := sys.Eventfd()
	g.deaf = err != nil
	if err == nil {
		g.bell = bell
	}
}

func (g *threadGate) wake() {
	if g.bell >= 0 {
		_ = sys.Notify(g.bell)
	}
}

func (g *threadGate) disturb() {
	if g.bell >= 0 {
		g.wake()
		return
	}
	_ = sys.Shutdown(g.fd, 0) // what the peer has sent already can still be received
}

func (g *threadGate) close() { _ = sys.Close(g.fd) }

// discard gives back what the seat keeps.
func (g *threadGate) discard() {
	if g.bell >= 0 {
		_ = sys.Close(g.bell)
		g.bell = -1
	}
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// runtimeGate waits in Go's poller. A goroutine waits for one thing there, so that where
// input and room for output are both awaited, a second goroutine waits for the latter,
// for as long as the peer is slow.
type runtimeGate struct {
	site    *Blocking
	c       *connection
	attempt func(uintptr) bool // connection.receive, bound once
	file    *os.File
	raw     syscall.RawConn
	bell    chan struct{}
	alarm   *time.Timer

	// Under connection.mu:
	until    int64 // the deadline that the poller has; zero is none
	poisoned bool  // it has one that has passed, to wake the connection
	woken    bool
	watching bool
	life     uint64 // which connection of the seat it is
}

func newRuntimeGate(site *Blocking, c *connection) *runtimeGate {
	g := &runtimeGate{site: site, c: c, bell: make(chan struct{}, 1)}
	g.attempt = func(fd uintptr) bool { return g.c.receive(int(fd)) }
	return g
}

func (g *runtimeGate) open(_ *connection, fd int) error {
	file := os.NewFile(uintptr(fd), "connection")
	raw, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // fails where the poller did not take it
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	g.file, g.raw = file, raw
	g.until, g.poisoned, g.woken, g.watching = 0, false, false, false
	select {
	case <-g.bell:
	default:
	}
	return nil
}

func (g *runtimeGate) await(c *connection, read, write bool, until int64) error {
	c.mu.Lock()
	if g.woken {
		g.woken = false
		c.mu.Unlock()
		return nil
	}
	// A deadline that is too early costs one needless turn; moving it costs more, and each exchange would.
	if g.poisoned || until != 0 && (g.until == 0 || until < g.until) || g.until != 0 && g.until <= c.now {
		deadline := time.Time{}
		if until != 0 {
			deadline = g.site.start.Add(time.Duration(until))
		}
		if err := g.file.SetReadDeadline(deadline); err != nil {
			c.mu.Unlock()
			return err
		}
		g.until, g.poisoned = until, false
	}
	if write && !g.watching {
		g.watching = true
		g.site.running.Go(g.watch(g.raw, g.life))
	}
	c.mu.Unlock()
	if read {
		_ = g.raw.Read(g.attempt) // its only error is the deadline: the caller looks at the time
		return nil
	}
	g.rest(until)
	return nil
}

// rest waits without looking at the socket.
func (g *runtimeGate) rest(until int64) {
	if until == 0 {
		<-g.bell
	} else {
		d := time.Duration(until - g.site.clock())
		if g.alarm == nil {
			g.alarm = time.NewTimer(d)
		} else {
			g.alarm.Reset(d)
		}
		select {
		case <-g.bell:
		case <-g.alarm.C:
		}
		g.alarm.Stop()
	}
	g.c.mu.Lock()
	g.woken = false
	g.c.mu.Unlock()
}

// watch waits until output can be sent, and wakes the connection.
func (g *runtimeGate) watch(raw syscall.RawConn, life uint64) func() {
	return func() {
		_ = raw.Write(func(fd uintptr) bool { return sys.IsReady(int(fd), sys.Writable) }) // fails if it is closed meanwhile
		g.c.mu.Lock()
		defer g.c.mu.Unlock()
		if g.life == life {
			g.watching = false
			g.wake()
		}
	}
}

func (g *runtimeGate) hear() {}

func (g *runtimeGate) wake() {
	if g.woken {
		return
	}
	g.woken, g.poisoned = true, true
	_ = g.file.SetReadDeadline(past)
	select {
	case g.bell <- struct{}{}:
	default:
	}
}

func (g *runtimeGate) disturb() { g.wake() }

func (g *runtimeGate) close() {
	g.life++
	_ = g.file.Close()
	g.file, g.raw = nil, nil
}

// post is a socket that is waited at for arrivals: connections or datagrams.
type post struct {
	at   *listening
	fd   int
	file *os.File // in Go's poller; nil where the thread blocks
	raw  syscall.RawConn
}

func (b *Blocking) newPost(l *listening, fd int) (*post, error) {
	p := &post{at: l, fd: fd}
	if b.waits == OnThread || fd < 0 {
		return p, nil
	}
	p.file = os.NewFile(uintptr(fd), "listener")
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.raw = raw
	return p, nil
}

// await calls attempt until it reports true, waiting in between, or until the listener is to be closed; then it
// reports false.
func (p *post) await(attempt func(fd uintptr) bool) bool {
	if p.raw != nil {
		return p.raw.Read(attempt) == nil
	}
	list := [2]sys.Await{
		{FD: int32(p.fd), Want: sys.Readable},
		{FD: int32(p.at.bell), Want: sys.Readable},
	}
	for !p.at.stopping() {
		if p.fd >= 0 && attempt(uintptr(p.fd)) {
			return true
		}
		list[0].Found, list[1].Found = 0, 0
		if _, err := sys.AwaitAny(list[:], -1); err != nil {
			time.Sleep(acceptPause) // the kernel is short of memory, and nothing tells when it is not any more
		}
	}
	return false
}

// stop ends a wait in progress.
func (p *post) stop() {
	if p.file != nil {
		_ = p.file.SetReadDeadline(past)
	}
}

func (p *post) close() {
	if p.file != nil {
		_ = p.file.Close()
	} else if p.fd >= 0 {
		_ = sys.Close(p.fd)
	}
}
