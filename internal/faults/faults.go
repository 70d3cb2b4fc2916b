// Package faults is an upstream that misbehaves on command, for tests and experiments with what stands before it.
//
// A [Server] speaks HTTP/1.1 over real sockets. What it does with a request is a [Script], a list of steps: read, send,
// trickle, wait, fall silent, half-close, close, reset. The script is chosen by a function of the request, or by name,
// from the path ("/fault/reset-body") or the field Fault. What happens between requests, and to the server as a whole,
// is chosen too: idle connections that end at random ([Idle]), a server that dies and returns at the same address, or
// one that is still there and accepts nothing.
//
// It reads strictly: what another server might understand in another way is no request to it. It counts what it saw and
// keeps what it read, so that a test can say that one request behind a proxy was one before it, that none was lost, and
// none doubled.
package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// Options is what a server is made with. Zero fields get the default that is named with them.
type Options struct {
	// Answer chooses what is done with a request; [ByName]. It is called by many goroutines.
	Answer func(r *Request) Script
	// Idle is how connections end between requests; they do not.
	Idle Idle
	// Tick is the unit of time of named faults: between two bytes that trickle; 1 s.
	Tick time.Duration
	// Record keeps the requests for Requests.
	Record bool
	// BodyBytes is how much of each body is kept; 64 KiB. All of it is read and counted.
	BodyBytes int
	// Seed is that of everything random; 1.
	Seed uint64
}

// Idle says how connections end when nothing is under way on them.
type Idle struct {
	// Share of the answers, 0 to 1, after which the connection ends: after a time between From and To, if no request has
	// come by then. A share of 0 is never.
	Share    float64
	From, To time.Duration
	// Late is the share of requests that come to a connection of earlier requests and find that it ends at this moment:
	// not a byte of them is read.
	Late float64
	// Reset is the share of these ends that are a reset instead of an orderly close.
	Reset float64
}

// Counts is what a server has seen. All but Open only grow.
type Counts struct {
	Connections int64 // accepted
	Open        int64 // of them, those that have not ended
	Requests    int64 // whose head, or what was to be one, has come
	Finished    int64 // of them, those whose script has ended
	Malformed   int64 // of them, those that are not what they should be
	Ended       int64 // connections that ended by Idle
}

// Server is an upstream. Its methods may be called from any goroutine.
type Server struct {
	options Options
	network string

	mu       sync.Mutex
	address  string
	listener net.Listener
	accepted chan struct{} // closed when nothing is accepted any more
	open     map[net.Conn]struct{}
	fillers  map[string]net.Conn // that keep the queue of a stalled server full, by local address
	counts   Counts
	kept     []*Request
	idle     Idle
	random   *rand.Rand
	closing  chan struct{} // closed when the connections of this life end
	running  sync.WaitGroup
}

// Listen starts a server at an address such as "127.0.0.1:0" or "unix:/tmp/a.sock" or "unix:@name".
func Listen(address string, o Options) (*Server, error) {
	if o.Answer == nil {
		o.Answer = ByName
	}
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.BodyBytes == 0 {
		o.BodyBytes = 64 << 10
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	s := &Server{
		options: o, network: "tcp", address: address, idle: o.Idle,
		open: make(map[net.Conn]struct{}), random: rand.New(rand.NewPCG(o.Seed, 0)),
	}
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		s.network, s.address = "unix", name
	}
	if err := s.Return(); err != nil {
		return nil, err
	}
	return s, nil
}

// Address is where the server listens, in the form that Listen takes, with the port that it got.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.network == "unix" {
		return "unix:" + s.address
	}
	return s.address
}

// Counts is what was seen up to now.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Open = int64(len(s.open))
	return c
}

// Requests are those that were kept, in the order of their ends, and forgets them. Those whose script still runs are
// not among them.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept
	s.kept = nil
	return kept
}

// SetIdle changes how connections end between requests, from the next answer on.
func (s *Server) SetIdle(i Idle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = i
}

// Close ends the server with all its connections, and waits until they have ended.
func (s *Server) Close() {
	s.Die(false)
	s.running.Wait()
}

// Die stops listening and ends all connections, by reset if that is wanted. The address is kept for Return.
func (s *Server) Die(reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unfill()
	if s.listener != nil {
		_ = s.listener.Close()
		s.listener = nil
	}
	if s.closing != nil {
		close(s.closing)
		s.closing = nil
	}
	for c := range s.open {
		if reset {
			linger(c)
		}
		_ = c.Close()
	}
}

// Return listens again after Die, at the same address.
func (s *Server) Return() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return errors.New("faults: the server is there already")
	}
	l, err := net.Listen(s.network, s.address)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	s.listener, s.address, s.closing = l, l.Addr().String(), make(chan struct{})
	s.accept()
	return nil
}

// accept takes connections until the listener ends or stalls.
func (s *Server) accept() {
	l, closing, done := s.listener, s.closing, make(chan struct{})
	s.accepted = done
	s.running.Go(func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.take(c, closing)
		}
	})
}

// take serves a connection, unless it is one of those that filled the queue.
func (s *Server) take(c net.Conn, closing chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if filler := s.fillers[c.RemoteAddr().String()]; s.network == "tcp" && filler != nil {
		_ = filler.Close()
		_ = c.Close()
		delete(s.fillers, c.RemoteAddr().String())
		return
	}
	if s.closing != closing {
		_ = c.Close()
		return
	}
	s.counts.Connections++
	number := s.counts.Connections
	s.open[c] = struct{}{}
	s.running.Go(func() {
		newConnection(s, c, number, closing).serve()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	})
}

// fillTime is how long a connection to a full queue is waited for: over loopback a queue with room takes it at once.
const fillTime = 50 * time.Millisecond

// Stall makes the server a black hole: its socket listens and its queue is full, so that attempts to connect are not
// answered. Connections that are open stay. TCP only.
func (s *Server) Stall() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.listener.(*net.TCPListener)
	if !ok {
		return errors.New("faults: only a server that listens on TCP can stall")
	}
	_ = l.SetDeadline(time.Unix(1, 0))
	done := s.accepted
	s.mu.Unlock() // what is being taken needs it
	<-done
	s.mu.Lock()
	if err := backlog(l, 0); err != nil {
		return err
	}
	s.fillers = make(map[string]net.Conn)
	for {
		c, err := net.DialTimeout("tcp", s.address, fillTime)
		if err != nil {
			return nil
		}
		s.fillers[c.LocalAddr().String()] = c
	}
}

// Resume accepts again after Stall.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.listener.(*net.TCPListener)
	if !ok {
		return errors.New("faults: nothing has stalled")
	}
	_ = l.SetDeadline(time.Time{})
	if err := backlog(l, 1024); err != nil {
		return err
	}
	s.accept()
	return nil
}

// backlog changes the length of the queue of a socket that listens.
func backlog(l *net.TCPListener, n int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = sys.Listen(int(fd), n) }); err != nil {
		return err
	}
	return failed
}

// unfill gives up what kept the queue full.
func (s *Server) unfill() {
	for _, c := range s.fillers {
		_ = c.Close()
	}
	s.fillers = nil
}

// chance is true for a share of the calls.
func (s *Server) chance(share float64) bool {
	if share <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < share
}

// idleEnd says whether and when the connection ends that has just been answered.
func (s *Server) idleEnd() (after time.Duration, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &s.idle
	if i.Share <= 0 || s.random.Float64() >= i.Share {
		return 0, false
	}
	after = i.From
	if i.To > i.From {
		after += time.Duration(s.random.Int64N(int64(i.To - i.From)))
	}
	return after, true
}

// late says whether the request that comes now finds the connection ending.
func (s *Server) late() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle.Late > 0 && s.random.Float64() < s.idle.Late
}

// count changes the counts.
func (s *Server) count(change func(c *Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

// keep remembers a request whose script has ended.
func (s *Server) keep(r *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Finished++
	if r.Wrong != "" {
		s.counts.Malformed++
	}
	if s.options.Record {
		s.kept = append(s.kept, r)
	}
}

// linger makes the next Close a reset.
func linger(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}
