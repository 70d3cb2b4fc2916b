// Package bus carries messages between connections on different loops, processes and machines, over NATS.
//
// A [Server] is a NATS server within this process: whoever supervises runs one, and those of several machines join to a
// cluster. A [Bus] is a client of one, embedded or not; every process has one of its own. There are three things to do
// with it, from the cheapest on:
//
//   - [Bus.Publish] and [Bus.Subscribe]: what is published goes at most once to everybody who listens at that moment.
//   - [Bus.Journal]: what is appended to a journal is kept by the server, on disk, and read from any place in it.
//   - [Bus.Table]: values by key, kept the same way, which can be watched.
//
// Subjects are words with dots between them; "*" stands for a word and ">" for the rest where one subscribes or reads.
//
// The functions that are given messages run on goroutines of the bus. What has to happen on the thread of a connection
// is posted to it, with [github.com/myriad-server/myriad/conn.Ref]. Nothing here is on the way of a request, and
// nothing runs when there is no bus.
package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrAway is what is returned while no server can be reached. The bus goes on trying, for ever.
var ErrAway = errors.New("bus: no server can be reached")

const (
	reconnectPause = 100 * time.Millisecond // between two attempts to reach a server
	connectTimeout = 2 * time.Second
	pingInterval   = 10 * time.Second // how soon a server that is silent for good is noticed: after two of them
	pendingCount   = 1 << 16          // messages that may wait for a subscriber; those that come then are lost to it
	pendingBytes   = 64 << 20
	closePatience  = 2 * time.Second
)

// Options is where a bus connects.
type Options struct {
	// URLs are the servers, nats://HOST:PORT, of which any will do; the first ones first. Without one Server must be set.
	URLs []string
	// Server, if set, is one in this process, which is talked to without a socket.
	Server *Server
	// Token is what the servers ask for. It is told to nobody.
	Token string
	// Name is what this client is called in the lists of the servers.
	Name string
	// Log gets a line when the bus goes away and when it is back, and one when a subscriber is too slow.
	Log *slog.Logger
	// Changed, if set, is called when the bus goes away and when it is back.
	Changed func(connected bool)
}

// Bus is a client. Its methods are for any goroutine.
type Bus struct {
	nats    *nats.Conn
	stream  jetstream.JetStream
	log     *slog.Logger
	changed func(bool)
	closing atomic.Bool
	closed  chan struct{}
	lost    atomic.Int64

	mu   sync.Mutex
	slow map[*nats.Subscription]int // messages that were lost to a subscriber, as the last look has it
}

// Message is what was published. Its data belongs to whoever gets it.
type Message struct {
	Subject string
	Data    []byte
}

// Connect makes a bus, and returns when a server has answered, or with the reason why none has.
func Connect(o Options) (*Bus, error) {
	b := &Bus{log: o.Log, changed: o.Changed, closed: make(chan struct{}), slow: map[*nats.Subscription]int{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	options := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectPause), nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what cannot be sent is refused, not remembered: at most once, and never late
		nats.DisconnectErrHandler(b.away), nats.ReconnectHandler(b.back), nats.ErrorHandler(b.trouble),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
	if o.Token != "" {
		options = append(options, nats.Token(o.Token))
	}
	if o.Server != nil {
		options = append(options, nats.InProcessServer(o.Server.server), nats.Token(o.Server.token))
	} else if len(o.URLs) == 0 {
		return nil, errors.New("bus: neither a server nor a URL is given")
	}
	var err error
	if b.nats, err = nats.Connect(strings.Join(o.URLs, ","), options...); err != nil {
		return nil, fmt.Errorf("bus: %w: %w", ErrAway, err)
	}
	if b.stream, err = jetstream.New(b.nats); err != nil {
		b.nats.Close()
		return nil, fmt.Errorf("bus: %w", err)
	}
	return b, nil
}

func (b *Bus) away(_ *nats.Conn, err error) {
	if b.closing.Load() {
		return
	}
	b.log.Warn("the bus is away", "cause", err, "meanwhile", "nothing is published, and nothing heard")
	if b.changed != nil {
		b.changed(false)
	}
}

func (b *Bus) back(c *nats.Conn) {
	b.log.Info("the bus is back", "server", c.ConnectedServerName())
	if b.changed != nil {
		b.changed(true)
	}
}

// trouble is told of what goes wrong beside the calls.
func (b *Bus) trouble(_ *nats.Conn, s *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrSlowConsumer) || s == nil {
		b.log.Warn("the bus has a problem", "cause", err)
		return
	}
	dropped, _ := s.Dropped()
	b.mu.Lock()
	more := dropped - b.slow[s]
	b.slow[s] = dropped
	b.mu.Unlock()
	b.lost.Add(int64(more))
	b.log.Warn("a subscriber is too slow", "subject", s.Subject, "messages_lost", more,
		"mend", "have it post what it gets, and return")
}

// Connected reports whether a server is reached at the moment.
func (b *Bus) Connected() bool { return b.nats.IsConnected() }

// Lost is how many messages subscribers of this bus have lost by being too slow.
func (b *Bus) Lost() int64 { return b.lost.Load() }

// Publish sends data, at most once, to everybody who has subscribed. It does not wait, and returns [ErrAway] without a
// server: nothing is kept for later. data may be used again when it returns.
func (b *Bus) Publish(subject string, data []byte) error { return told(b.nats.Publish(subject, data)) }

// Subscribe has f called with what is published from now on, one message after the other. Beyond 65,536 messages or
// 64 MiB that wait for f they are lost to it, which Lost counts and the log tells. cancel ends it; f may be called once
// more meanwhile.
func (b *Bus) Subscribe(subject string, f func(m Message)) (cancel func(), err error) {
	s, err := b.nats.Subscribe(subject, func(m *nats.Msg) { f(Message{m.Subject, m.Data}) })
	if err == nil {
		err = s.SetPendingLimits(pendingCount, pendingBytes)
	}
	if err == nil {
		err = b.nats.Flush() // the server knows of it when Subscribe returns
	}
	if err != nil {
		return nil, told(err)
	}
	return func() {
		_ = s.Unsubscribe() // it fails when the bus is closed, and then there is nothing to end
		b.mu.Lock()
		delete(b.slow, s)
		b.mu.Unlock()
	}, nil
}

// Flush returns when the server has everything that was published before.
func (b *Bus) Flush() error { return told(b.nats.FlushTimeout(connectTimeout)) }

// Close ends the bus: what is under way to the server and to subscribers arrives first, as far as there is time.
func (b *Bus) Close() {
	if b.closing.Swap(true) {
		return
	}
	if b.nats.Drain() != nil {
		b.nats.Close()
	}
	select {
	case <-b.closed:
	case <-time.After(closePatience):
		b.nats.Close()
		<-b.closed
	}
}

// told turns errors of the client into those of this package.
func told(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return fmt.Errorf("bus: %w", err)
}
