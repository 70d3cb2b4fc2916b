package http1

// Error is a refusal: what is wrong with the message, and the status that tells its sender. All values are package
// variables, so refusing costs no allocation and errors compare with ==. The connection cannot be read any further
// after one, because where the next message begins is unknown.
type Error struct {
	// Status is the status code of the answer: 400, 414, 431, 501 or 505. It is meant for the sender of a request. About
	// a response that an upstream sent, a gateway tells its own client 502, whatever stands here: the rules for fields
	// and framing, and so their errors, are shared by both kinds of message.
	Status int
	// Reason says in a few words what was refused; it quotes nothing of the message.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "http1: " + e.Reason }

// The refusals of a request line.
var (
	ErrStart       = &Error{400, "message begins with a byte that no method has"}
	ErrRequestLine = &Error{400, "malformed request line"}
	ErrTarget      = &Error{400, "malformed request target"}
	ErrTargetForm  = &Error{400, "form of request target does not fit the method"}
	ErrVersion     = &Error{400, "malformed protocol version"}
	ErrMajor       = &Error{505, "major version is not 1"}
	ErrMethodSize  = &Error{501, "method name too long"}
	ErrTargetSize  = &Error{414, "request target too long"}
)

// The refusals of a field section.
var (
	ErrLineEnd    = &Error{400, "line does not end with CR LF"}
	ErrFold       = &Error{400, "folded field line"}
	ErrFieldName  = &Error{400, "malformed field name"}
	ErrFieldValue = &Error{400, "control character in field value"}
	ErrHeadSize   = &Error{431, "head too large"}
	ErrFieldCount = &Error{431, "too many fields"}
)

// The refusals of what the fields mean together.
var (
	ErrHostMissing    = &Error{400, "no Host field"}
	ErrHostRepeated   = &Error{400, "more than one Host field"}
	ErrHost           = &Error{400, "malformed host"}
	ErrLength         = &Error{400, "malformed Content-Length"}
	ErrLengthRepeated = &Error{400, "more than one Content-Length field"}
	ErrLengthAndCoded = &Error{400, "both Content-Length and Transfer-Encoding"}
	ErrCoding         = &Error{400, "chunked is not the one and final transfer coding"}
	ErrCodingUnknown  = &Error{501, "unknown transfer coding"}
	ErrCodingVersion  = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	ErrConnection     = &Error{400, "malformed Connection field"}
	ErrNoContent      = &Error{400, "content in a request whose method has none"}
)

// The refusals of a chunked body.
var (
	ErrChunkSize      = &Error{400, "malformed chunk size"}
	ErrChunkLarge     = &Error{400, "chunk size too large"}
	ErrChunkExtension = &Error{400, "malformed chunk extension"}
	ErrExtensionSize  = &Error{400, "chunk extensions too long"}
	ErrChunkEnd       = &Error{400, "chunk data does not end with CR LF"}
	ErrTrailerField   = &Error{400, "field not allowed in trailers"}
	ErrTrailerSize    = &Error{431, "trailers too large"}
)
