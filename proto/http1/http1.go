// Package http1 is the codec of HTTP/1.1 and HTTP/1.0: bytes in, messages out, and back. It owns no socket, no clock
// and no goroutine, so the same code serves every driver, every model and every test.
//
// # Reading
//
// [Request.Parse] and [Response.Parse] read a message head in place. They take the bytes received so far and answer
// with the head's length, or with zero while it is incomplete; whoever calls keeps the bytes and calls again with more
// behind them. What has been scanned is not scanned again, so a peer that sends single bytes costs linear time, and
// positions are kept as offsets, so the bytes may move between two calls. [BodyDecoder] takes the content that
// follows. Nothing on this path allocates, once a Request has grown to the number of fields it meets.
//
// # Strictness
//
// Where RFC 9112 lets a recipient be lenient, this package refuses: two parties that read one message differently are
// what request smuggling is made of. Refused with 400, among others: a line that ends with a bare LF, a bare CR, a
// folded field line, whitespace before a colon, an empty or non-token name, a control character in a value, more than
// one Host, Content-Length or Transfer-Encoding field, a Content-Length that is not digits alone, both framing fields
// at once, a transfer coding in HTTP/1.0, and an invalid request target.
//
// The deliberate deviations from the letter of the grammar:
//
//   - a target may contain any visible ASCII character except '#', because browsers send '|', '{' and others raw;
//     percent-encoding is checked by whoever decodes it;
//   - a percent-encoded host and an IPvFuture literal are refused: no name that resolves needs them, and two spellings
//     of one host are two answers to one routing question;
//   - two identical Content-Length fields are refused, although RFC 9112 section 6.3 would let them be merged.
package http1

// Limits bounds what a message head may take. A field that is zero or negative means its default: there is no way to
// ask for no limit.
type Limits struct {
	// HeadBytes is the longest head accepted, from the first byte to the end of the empty line. Default 16 KiB, at
	// least 16 bytes (no head is shorter), at most 16 MiB.
	HeadBytes int
	// TargetBytes is the longest request target accepted. Default 8 KiB.
	TargetBytes int
	// Fields is the largest number of field lines accepted. Default 100, at most 65,535.
	Fields int
}

const (
	defaultHeadBytes   = 16 << 10
	defaultTargetBytes = 8 << 10
	defaultFields      = 100

	smallestHeadBytes = 16
	largestHeadBytes  = 16 << 20
	largestFields     = 1<<16 - 1
)

// DefaultLimits returns the limits that a nil or zero Limits stands for: a head of 16 KiB, a target of 8 KiB and 100
// fields.
func DefaultLimits() Limits {
	return Limits{HeadBytes: defaultHeadBytes, TargetBytes: defaultTargetBytes, Fields: defaultFields}
}

// effective replaces what is unset by defaults and cuts what the offsets could not hold.
func (l *Limits) effective() Limits {
	e := DefaultLimits()
	if l == nil {
		return e
	}
	if l.HeadBytes > 0 {
		e.HeadBytes = min(max(l.HeadBytes, smallestHeadBytes), largestHeadBytes)
	}
	if l.TargetBytes > 0 {
		e.TargetBytes = min(l.TargetBytes, largestHeadBytes)
	}
	if l.Fields > 0 {
		e.Fields = min(l.Fields, largestFields)
	}
	return e
}
