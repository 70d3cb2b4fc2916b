package http1

import "bytes"

// The refusals of a response head, besides those of fields and framing.
var (
	ErrStatusLine = &Error{502, "malformed status line"}
	ErrStatus     = &Error{502, "malformed status code"}
	ErrNoBody     = &Error{502, "content announced by a response that has none"}
)

// Response is the head of a response, parsed in place as Request is. The zero value is ready, and it is meant to be
// reused. What holds for the slices that Request returns holds for these.
type Response struct {
	// ContentLength is the value of the Content-Length field, or -1 when there is none. It says how much content follows
	// only if HasBody does: the answer to HEAD and 304 (Not Modified) tell the length of what they do not bring.
	ContentLength int64
	// Status is the status code, from 100 to 999. One below 200 is interim: another head follows, but for 101.
	Status int
	// Minor is the minor version, 0 or 1, as in Request.
	Minor uint8
	// Chunked says that the content comes in chunks, if HasBody says that there is any.
	Chunked bool
	// UntilClose says that the content ends with the connection.
	UntilClose bool
	// Switched says that what follows the head is no HTTP: the peer has switched protocols (101), or opened the tunnel
	// that CONNECT asked for.
	Switched bool
	// Close says that the connection cannot be used for another request.
	Close bool

	phase   phase
	bare    bool // no content, whatever the fields say
	request Method
	head    []byte
	fault   *Error
	section section

	reason, reasonEnd uint32
}

// Reset forgets the message and the reference to its bytes, and keeps the memory for fields.
func (r *Response) Reset() {
	r.begin()
	r.head = nil
}

func (r *Response) begin() {
	r.phase = phaseLine
	r.fault = nil
	r.section.begin(0)
}

// Parse reads the head of a response to a request with the given method, which decides whether content can follow
// (RFC 9112 section 6.3). It goes on and ends as Request.Parse does. TargetBytes of the limits means nothing here.
//
// The reason may be missing together with the space before it, which some servers leave out. No transfer coding but
// chunked is accepted, for a server may use another only if the request offered it in a TE field.
func (r *Response) Parse(in []byte, request Method, limits *Limits) (n int, err error) {
	l := limits.effective()
	if r.phase == phaseStart || r.phase == phaseDone {
		r.begin()
	}
	r.request = request
	if n, err = r.parse(in, &l); err != nil {
		r.phase = phaseFailed
		r.fault, _ = err.(*Error)
		return 0, err
	}
	return n, nil
}

func (r *Response) parse(in []byte, limits *Limits) (int, error) {
	r.head = in
	switch r.phase {
	case phaseLine:
		end, err := r.parseLine(in, limits)
		if end == 0 {
			return 0, err
		}
		r.section.begin(end)
		r.phase = phaseFields
		fallthrough
	case phaseFields:
		n, err := r.section.scan(in, limits)
		if n == 0 {
			return 0, err
		}
		r.head = in[:n:n]
		if fault := r.conclude(); fault != nil {
			return 0, fault
		}
		r.phase = phaseDone
		return n, nil
	}
	return 0, r.fault
}

// parseLine reads the status line and returns where the next line begins, or zero. A peer that does not begin to
// speak HTTP is refused before its first line ends.
func (r *Response) parseLine(in []byte, limits *Limits) (int, error) {
	const protocol = "HTTP/"
	if size := min(len(in), len(protocol)); string(in[:size]) != protocol[:size] {
		return 0, ErrStatusLine
	}
	if r.section.seen > 0 && bytes.IndexByte(in[min(r.section.seen, len(in)):], '\n') < 0 {
		return r.section.wait(in, limits)
	}
	i := len("HTTP/1.1 200")
	if fault := r.parseStatus(in); fault != nil {
		return r.section.stop(in, 0, limits, fault)
	}
	r.reason, r.reasonEnd = uint32(i), uint32(i)
	if i < len(in) && in[i] == ' ' {
		i++
		r.reason = uint32(i)
		for i = nextControl(in, i); i < len(in) && in[i] == '\t'; {
			i = nextControl(in, i+1)
		}
		r.reasonEnd = uint32(i)
	} else if i < len(in) && in[i] != '\r' && in[i] != '\n' {
		return r.section.stop(in, 0, limits, ErrStatus)
	}
	if i+1 >= len(in) || in[i] != '\r' || in[i+1] != '\n' {
		return r.section.stop(in, 0, limits, valueError(in, i))
	}
	if i += 2; i > limits.HeadBytes {
		return 0, ErrHeadSize
	}
	return i, nil
}

// parseStatus reads version and status code at the front of b.
func (r *Response) parseStatus(b []byte) *Error {
	if len(b) < len("HTTP/1.1 ") || b[6] != '.' || !isDigit(b[5]) || !isDigit(b[7]) || b[8] != ' ' {
		return ErrStatusLine
	}
	if b[5] != '1' {
		return ErrStatusLine
	}
	r.Minor = min(b[7]-'0', 1)
	if len(b) < len("HTTP/1.1 200") {
		return ErrStatus
	}
	r.Status = digits(b[9:12])
	if r.Status < 100 {
		return ErrStatus
	}
	return nil
}

// conclude decides what the head means: whether and how content follows, and what becomes of the connection.
func (r *Response) conclude() *Error {
	s := &r.section
	framing, fault := s.framing(r.head, r.Minor)
	if fault != nil {
		return fault
	}
	r.ContentLength, r.Chunked, r.UntilClose = framing.length, framing.chunked, false
	tunnel := r.request == CONNECT && r.Status/100 == 2 // framing fields mean nothing then
	r.Switched = r.Status == 101 || tunnel
	if r.Status < 200 || r.Status == 204 && !tunnel {
		if r.Chunked || r.ContentLength > 0 {
			return ErrNoBody
		}
	}
	r.bare = r.Status < 200 || r.Status == 204 || r.Status == 304 || tunnel || r.request == HEAD
	r.UntilClose = !r.bare && !r.Chunked && r.ContentLength < 0
	r.Close = r.Minor == 0
	if s.has(Connection) {
		options, fault := s.connection(r.head)
		if fault != nil {
			return fault
		}
		r.Close = options.close || r.Minor == 0 && !options.keepAlive
	}
	r.Close = r.Close || r.UntilClose || r.Switched
	return nil
}

// HasBody says that content follows the head.
func (r *Response) HasBody() bool {
	return !r.bare && (r.Chunked || r.UntilClose || r.ContentLength > 0)
}

// Reason returns the reason phrase as it was sent; it may be empty.
func (r *Response) Reason() []byte { return r.head[r.reason:r.reasonEnd:r.reasonEnd] }

// Head returns the whole head, the empty line behind it included.
func (r *Response) Head() []byte { return r.head }

// Field returns the value of a known field, and whether it is there; of a field that was sent more than once, the
// first.
func (r *Response) Field(id KnownField) ([]byte, bool) { return r.section.known(r.head, id) }

// Repeated says that a known field was sent on more than one line.
func (r *Response) Repeated(id KnownField) bool { return r.section.repeated(id) }

// Lookup returns the value of the first field called name, in any case, and whether there is one.
func (r *Response) Lookup(name string) ([]byte, bool) { return r.section.lookup(r.head, name) }

// Fields returns how many field lines the head has.
func (r *Response) Fields() int { return len(r.section.fields) }

// FieldAt returns name and value of the i-th field line in the order sent, from 0 to Fields()-1.
func (r *Response) FieldAt(i int) (name, value []byte) { return r.section.at(r.head, i) }

// KnownAt returns which known field the i-th field line is.
func (r *Response) KnownAt(i int) KnownField { return r.section.fields[i].known }

// ConnectionNames reports whether a Connection field names the field called name (or an option of that name), in any
// case: such a field is meant for this connection alone and must not be forwarded (RFC 9110 section 7.6.1).
func (r *Response) ConnectionNames(name []byte) bool { return r.section.connectionNames(r.head, name) }

// ConnectionNames reports whether a Connection field names the field called name (or an option of that name), in any
// case: such a field is meant for this connection alone and must not be forwarded (RFC 9110 section 7.6.1).
func (r *Request) ConnectionNames(name []byte) bool { return r.section.connectionNames(r.head, name) }

func (s *section) connectionNames(head, name []byte) bool {
	if !s.has(Connection) || len(name) == 0 {
		return false
	}
	for i := int(s.first[Connection]); i < len(s.fields); i++ {
		if s.fields[i].known != Connection {
			continue
		}
		_, value := s.at(head, i)
		for more := true; more; {
			var member []byte
			member, value, more = nextMember(value)
			if len(member) == len(name) && sameName(member, name) {
				return true
			}
		}
	}
	return false
}

// StartResponse makes the decoder ready for the content of r.
func (d *BodyDecoder) StartResponse(r *Response) {
	switch {
	case !r.HasBody():
		d.StartLength(0)
	case r.Chunked:
		d.StartChunked()
	case r.UntilClose:
		d.StartUntilClose()
	default:
		d.StartLength(r.ContentLength)
	}
}
