// Package ws is the codec of WebSocket (RFC 6455) with permessage-deflate (RFC 7692): bytes in, messages out, and
// back, for servers and for clients. It owns no socket, no clock and no goroutine, so the same code serves every
// driver, every model and every test.
//
// # Reading
//
// A [Decoder] takes the bytes received so far and answers with the next message, ping, pong or close, or with nothing
// while it is incomplete. A message that comes in one frame, uncompressed, and lies whole in what was received is
// unmasked where it lies and returned from there, without a copy and without an allocation. Any other is put together
// in memory that the decoder borrows and gives back with the next call, so between two messages a decoder holds none.
// Memory grows with what has come, never with what a header announces, and limits are checked before either.
//
// # Writing
//
// An [Encoder] appends messages and control frames to a slice. A server's are the same bytes for everybody, so they can
// be made once and sent to many; a client masks each of its own with a new key.
//
// # Strictness
//
// Refused with 1002: a frame that is masked where it must not be or the reverse, a reserved bit or opcode, a control
// frame that is fragmented or longer than 125 bytes, a continuation of nothing, a new message within another, a
// length that is not written in the fewest bytes, a close frame of one byte or with a code that must not be sent.
// Refused with 1007: text that is not UTF-8, as soon as the first byte that cannot belong to it has come, and
// compressed data that is malformed. Refused with 1009: what is beyond a limit.
//
// # Compression
//
// What is sent never refers to earlier messages, and what is received does so only if that was asked for with
// [Deflate.Keep]: a connection that waits would have to keep a window. The compressor of the standard library has a
// window of 32 KiB; to a peer that wants a smaller one, messages are sent in stretches of its size that do not refer
// to each other.
package ws

// Opcode is what a frame is. (RFC 6455 section 5.2)
type Opcode uint8

// The opcodes. Those from Close on are control frames.
const (
	Continuation Opcode = 0x0 // goes on with a message; as a result of Decoder.Next: nothing is complete
	Text         Opcode = 0x1 // a message in UTF-8
	Binary       Opcode = 0x2 // a message of any bytes
	Close        Opcode = 0x8 // the last frame of its sender
	Ping         Opcode = 0x9 // asks for a pong with the same payload
	Pong         Opcode = 0xA // answers a ping, or comes unasked
)

// control says that an opcode is that of a control frame, defined or not.
func (o Opcode) control() bool { return o >= Close }

// defined says that an opcode has a meaning.
func (o Opcode) defined() bool { return o <= Binary || o >= Close && o <= Pong }

// String is the name of an opcode.
func (o Opcode) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return "reserved"
}

// ControlBytes is the largest payload of a control frame, and ReasonBytes what a reason for closing may take of it.
const (
	ControlBytes = 125
	ReasonBytes  = ControlBytes - 2
)

// Code is why a connection is closed. (RFC 6455 section 7.4, and the registry of the IANA)
type Code uint16

// The codes.
const (
	CodeNormal      Code = 1000 // the purpose is fulfilled
	CodeGoingAway   Code = 1001 // the server stops, or the user leaves the page
	CodeProtocol    Code = 1002 // the peer broke the protocol
	CodeUnsupported Code = 1003 // the kind of message cannot be taken
	CodeNone        Code = 1005 // the peer gave none; never sent
	CodeAbnormal    Code = 1006 // the connection ended without a close frame; never sent
	CodePayload     Code = 1007 // the payload is not what its kind says
	CodePolicy      Code = 1008 // against a policy
	CodeTooLarge    Code = 1009 // beyond a limit
	CodeExtension   Code = 1010 // the server lacks an extension that the client needs
	CodeInternal    Code = 1011 // the server failed
	CodeRestart     Code = 1012 // the server restarts
	CodeTryLater    Code = 1013 // the server has too much to do
	CodeGateway     Code = 1014 // an upstream of the server failed
	CodeTLS         Code = 1015 // the TLS handshake failed; never sent
)

// Sendable says that a close frame may have the code: one that is defined and is no placeholder, one that is registered
// by others (3000 to 3999), or a private one (4000 to 4999).
func (c Code) Sendable() bool {
	switch {
	case c < CodeNormal || c >= 5000:
		return false
	case c >= 3000:
		return true
	}
	return c <= CodeUnsupported || c >= CodePayload && c <= CodeGateway
}

// Error is a refusal: what is wrong, and the code that tells its sender. All values are package variables, so refusing
// costs no allocation and errors compare with ==. The connection cannot be read any further after one.
type Error struct {
	// Code is that of the close frame.
	Code Code
	// Reason says in a few words what was refused; it quotes nothing of what was received.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "ws: " + e.Reason }

// The refusals of a frame.
var (
	ErrReserved     = &Error{CodeProtocol, "reserved bit set"}
	ErrOpcode       = &Error{CodeProtocol, "unknown opcode"}
	ErrUnmasked     = &Error{CodeProtocol, "frame of a client without a mask"}
	ErrMasked       = &Error{CodeProtocol, "frame of a server with a mask"}
	ErrLength       = &Error{CodeProtocol, "malformed length"}
	ErrControlSize  = &Error{CodeProtocol, "control frame too long"}
	ErrControlPart  = &Error{CodeProtocol, "fragmented control frame"}
	ErrContinuation = &Error{CodeProtocol, "continuation without a message"}
	ErrInterleaved  = &Error{CodeProtocol, "message begins within another"}
	ErrFrameSize    = &Error{CodeTooLarge, "frame too large"}
)

// The refusals of what frames carry.
var (
	ErrMessageSize = &Error{CodeTooLarge, "message too large"}
	ErrText        = &Error{CodePayload, "text is not UTF-8"}
	ErrDeflate     = &Error{CodePayload, "malformed compressed data"}
	ErrCloseSize   = &Error{CodeProtocol, "close frame of one byte"}
	ErrCloseCode   = &Error{CodeProtocol, "close code that must not be sent"}
	ErrCloseReason = &Error{CodePayload, "reason for closing is not UTF-8"}
)
