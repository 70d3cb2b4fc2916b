// Package socket serves WebSocket connections: a [Service] answers the handshake of a request, and from then on the
// messages of the connection go to a [Handler], on the thread of the connection, under every driver and every model.
//
// # Cost
//
// A connection that waits holds a [Conn], a timer in the wheel of its loop, and nothing else: memory for messages is
// borrowed while one is being put together, decompressed or compressed. A message that came in one piece is handed over
// where it was received.
//
// # Sending
//
// [Conn.Send] queues a message, on the thread of the connection. Other goroutines hold a [Ref], whose Send does the
// same from anywhere. A [Message] that goes to many is framed and compressed once. What is queued has a limit,
// [Options.QueueBytes]: beyond it a message is refused with ErrFull, and whoever sends decides whether it is left out
// or the connection closed; [Handler.Flushed] tells when everything has left. A peer that does not take what it is
// sent is not read from either, so a handler that answers each message with one need not look at the limit.
//
// # The end
//
// Each connection ends with one call of [Handler.Closed]: with the code of the peer's close frame, or with the code
// that it was refused with, or with [ws.CodeAbnormal] if it broke off. A peer that is silent is sent a ping, and
// given up if it neither answers nor takes anything. When the server stops, connections are closed with
// [ws.CodeGoingAway].
package socket

import (
	"errors"
	"time"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
)

// Handler gives messages a meaning. One handler serves many connections, on many threads at once; what it must remember
// about one of them it attaches. It must not block. A handler that panics costs its connection, which is closed with
// ws.CodeInternal.
type Handler interface {
	// Opened comes once, before any other, behind the handshake.
	Opened(c *Conn)
	// Message brings a message, ws.Text or ws.Binary. Text is valid UTF-8. p is only lent for the call, and may be
	// changed.
	Message(c *Conn, opcode ws.Opcode, p []byte)
	// Flushed says that everything queued has left.
	Flushed(c *Conn)
	// Closed comes once, last; nothing can be sent any more. The code is ws.CodeNone if the peer closed without one, and
	// ws.CodeAbnormal if it did not close at all. With ws.CodeRestart it goes on in another process: see Packer.
	Closed(c *Conn, code ws.Code, reason string)
}

// Defaults is a handler of everything but messages that does nothing, to be embedded in one that adds Message.
type Defaults struct{}

// Opened does nothing.
func (Defaults) Opened(*Conn) {}

// Flushed does nothing.
func (Defaults) Flushed(*Conn) {}

// Closed does nothing.
func (Defaults) Closed(*Conn, ws.Code, string) {}

// Options says how connections are accepted and bounded. What is zero has its default.
type Options struct {
	// Name is what the service is called where its connections arrive in another process. By default it is the type of the
	// handler: services of one server whose handlers are of one type need names.
	Name string
	// Protocols are the subprotocols that are spoken, the preferred one first. A client that names none of them gets
	// none.
	Protocols []string
	// Origin decides about requests of web pages, which name their origin, such as "https://example.org". By default
	// those of pages of the same host are taken: the cookies of a user come with requests of any page.
	Origin func(x *web.Exchange, origin string) bool
	// Limits bounds messages and frames.
	Limits ws.Limits
	// QueueBytes is how much may be queued on a connection before further messages are refused with ErrFull. From half
	// of it on nothing is read. One message may go beyond it. Default 1 MiB.
	QueueBytes int64
	// Deflate, if set, lets clients have compression. Level is how hard messages are compressed, 1 to 9, by default 1;
	// CompressBytes is from which size on, by default 256.
	Deflate       *ws.Deflate
	Level         int
	CompressBytes int
	// Ping is the silence after which a ping is sent. Default 30 s; negative: none is sent.
	Ping time.Duration
	// Pong is how long a peer may be silent behind a ping, or take nothing of what is queued. Default 20 s.
	Pong time.Duration
	// Close is how long the peer may take to answer a close frame. Default 5 s.
	Close time.Duration
	// Panicked, if set, is told when a handler panics.
	Panicked func(c *Conn, value any)
}

const (
	defaultQueueBytes = 1 << 20
	defaultPing       = 30 * time.Second
	defaultPong       = 20 * time.Second
	defaultClose      = 5 * time.Second
)

// Why a message is not sent.
var (
	ErrFull   = errors.New("socket: the queue of the connection is full")
	ErrClosed = errors.New("socket: the connection is closed or being closed")
)

// Service accepts connections for a handler. It is a web.Handler. It may be used from any thread.
type Service struct {
	handler Handler
	options Options
	rules   *ws.Rules
}

// New makes a service.
func New(h Handler, o Options) *Service {
	if o.Name == "" {
		o.Name = nameOf(h)
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.Ping == 0 {
		o.Ping = defaultPing
	}
	if o.Pong <= 0 {
		o.Pong = defaultPong
	}
	if o.Close <= 0 {
		o.Close = defaultClose
	}
	if o.Origin == nil {
		o.Origin = sameHost
	}
	return &Service{handler: h, options: o, rules: ws.NewRules(o.Limits, false)}
}

// Serve accepts the request, with nothing attached.
func (s *Service) Serve(x *web.Exchange) { _ = s.Accept(x, nil) }
