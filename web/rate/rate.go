// Package rate bounds the requests of each client address: what is more than it may make is answered with 429 (RFC
// 6585, section 4) and with how long to wait.
//
// A [Limiter] counts in windows of a fixed length and weighs the one before by how much of it is still within reach, so
// that nothing but two numbers is kept for a client. Several processes share a limit by telling each other what they
// have admitted, as often as they like: see [Limiter.Told] and [Limiter.Heard]. The sum is late by that, so together
// they may admit more than the limit, by what comes in meanwhile. Without word from the others each counts for itself.
package rate

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/myriad-server/myriad/web"
)

// Options is a limit.
type Options struct {
	// Requests is how many a client may make within Per.
	Requests int
	Per      time.Duration
	// Clients is how many addresses are remembered at a time, some 80 bytes each. Those beyond are not bounded.
	Clients int
	// Shared has the limiter keep what Told tells.
	Shared bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// The clients are spread over so many locks.
const shards = 64

// Limiter is a limit and what clients have used of it. Its methods are for any goroutine.
type Limiter struct {
	options   Options
	each      int // clients of a shard
	uncounted atomic.Uint64
	refused   atomic.Uint64
	shards    [shards]shard
}

type shard struct {
	mu      sync.Mutex
	clients map[netip.Addr]usage
	fresh   []netip.Addr // clients with something to be told
	swept   int64        // the window in which what is old was last thrown away
}

// usage is what a client has used.
type usage struct {
	window      int64
	now, before uint32 // requests in the window, and in the one before
	untold      uint32 // admitted here and not told yet
}

// New makes a limiter that nobody has used yet.
func New(o Options) (*Limiter, error) {
	if o.Requests < 1 || o.Requests > math.MaxUint32/2 || o.Per < time.Millisecond || o.Clients < shards {
		return nil, errors.New("rate: a limit needs requests, a millisecond or more, and room for 64 clients")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Limiter{options: o, each: o.Clients / shards}
	for i := range l.shards {
		l.shards[i].clients = map[netip.Addr]usage{}
	}
	return l, nil
}

// Client is the address that counts for one: of IPv6 the first 64 bits, which is what one subscriber has.
func Client(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Admit counts a request in and returns 0, or how long the client had better wait. A client without an address, as on a
// Unix socket, is admitted.
func (l *Limiter) Admit(a netip.Addr) (wait time.Duration) {
	if !a.IsValid() {
		return 0
	}
	a = Client(a)
	window, within := l.window()
	s := l.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	u, room := l.usage(s, a, window)
	if !room {
		l.uncounted.Add(1)
		return 0
	}
	if wait = l.wait(&u, within); wait > 0 {
		l.refused.Add(1)
		return wait
	}
	u.now++
	if l.options.Shared {
		if u.untold == 0 {
			s.fresh = append(s.fresh, a)
		}
		u.untold++
	}
	s.clients[a] = u
	return 0
}

// window is the number of the window that we are in, the same for all processes, and how far in it we are.
func (l *Limiter) window() (number int64, within time.Duration) {
	now, per := l.options.Now().UnixNano(), int64(l.options.Per)
	return now / per, time.Duration(now % per)
}

func (l *Limiter) shard(a netip.Addr) *shard {
	b := a.As16()
	const odd = 0x9e3779b97f4a7c15 // spreads what differs in few bits
	h := (binary.LittleEndian.Uint64(b[:8]) ^ binary.LittleEndian.Uint64(b[8:])*odd) * odd
	return &l.shards[h>>58]
}

// usage is what a client has used, as of the window. There is no room for a new one when all are recent.
func (l *Limiter) usage(s *shard, a netip.Addr, window int64) (u usage, room bool) {
	u, known := s.clients[a]
	switch {
	case !known:
		if len(s.clients) >= l.each && !s.sweep(window) {
			return u, false
		}
	case u.window == window-1:
		u.before, u.now = u.now, 0
	case u.window != window:
		u.before, u.now = 0, 0
	}
	u.window = window
	return u, true
}

// sweep throws away what does not count any more, once in a window, and reports whether there was any.
func (s *shard) sweep(window int64) bool {
	if s.swept == window {
		return false
	}
	s.swept = window
	before := len(s.clients)
	for a, u := range s.clients {
		if u.window < window-1 && u.untold == 0 {
			delete(s.clients, a)
		}
	}
	return len(s.clients) < before
}

// wait is how long it takes until a client may make another request.
func (l *Limiter) wait(u *usage, within time.Duration) time.Duration {
	most, per := float64(l.options.Requests), float64(l.options.Per)
	left := 1 - float64(within)/per
	if float64(u.before)*left+float64(u.now) < most {
		return 0
	}
	until := (left - (most-float64(u.now))/float64(u.before)) * per
	if float64(u.now) >= most { // in the next window these are the ones before
		until = (left + 1 - most/float64(u.now)) * per
	}
	return max(time.Duration(until), 0) + time.Microsecond // which is more than what is lost by rounding
}

// Refused is how many requests were refused.
func (l *Limiter) Refused() uint64 { return l.refused.Load() }

// Uncounted is how many requests were admitted without being counted, as too many clients were about.
func (l *Limiter) Uncounted() uint64 { return l.uncounted.Load() }

// toldBytes is a client in what is told: the address and a number.
const toldBytes = 16 + 4

// Told appends what was admitted here since the last call, up to most bytes, for Heard of others; nothing if there is
// nothing.
func (l *Limiter) Told(dst []byte, most int) []byte {
	end := len(dst) + most
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for n := len(s.fresh); n > 0 && len(dst)+toldBytes <= end; n-- {
			a := s.fresh[n-1]
			s.fresh = s.fresh[:n-1]
			u := s.clients[a]
			b := a.As16()
			dst = binary.LittleEndian.AppendUint32(append(dst, b[:]...), u.untold)
			u.untold = 0
			s.clients[a] = u
		}
		s.mu.Unlock()
	}
	return dst
}

// Heard counts what another process has told. It belongs to the window that we are in, or nearly so.
func (l *Limiter) Heard(p []byte) {
	window, _ := l.window()
	for ; len(p) >= toldBytes; p = p[toldBytes:] {
		a := Client(netip.AddrFrom16([16]byte(p)))
		s := l.shard(a)
		s.mu.Lock()
		if u, room := l.usage(s, a, window); room {
			n := uint64(u.now) + uint64(binary.LittleEndian.Uint32(p[16:]))
			u.now = uint32(min(n, math.MaxUint32/2))
			s.clients[a] = u
		}
		s.mu.Unlock()
	}
}

// Handler has next answer what is admitted. Connections that it has switched in another process go on with it.
func (l *Limiter) Handler(next web.Handler) web.Handler {
	bounded := web.HandlerFunc(func(x *web.Exchange) {
		wait := l.Admit(x.Remote().Addr())
		if wait == 0 {
			next.Serve(x)
			return
		}
		var room [20]byte
		seconds := int64((wait + time.Second - 1) / time.Second)
		x.AddBytes("Retry-After", strconv.AppendInt(room[:0], seconds, 10))
		x.Fail(429)
	})
	if resumer, resumes := next.(web.Resumer); resumes {
		return web.Resuming{Handler: bounded, By: []web.Resumer{resumer}}
	}
	return bounded
}
