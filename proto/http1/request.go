package http1

// Request is the head of a request, parsed in place. The zero value is ready. It is meant to be reused: one Request
// parses the heads of a connection, or of many connections in turn, without allocating once it has grown to the
// largest number of fields.
//
// The slices that its methods return lie in the bytes given to the last Parse, and are valid as long as those are;
// they must not be written to. The fields and methods have a meaning once Parse has returned a length.
type Request struct {
	// ContentLength is the value of the Content-Length field, or -1 when there is none.
	ContentLength int64
	// Method is the method; of Other, MethodToken has the name.
	Method Method
	// Minor is the minor version, 0 or 1. A message of HTTP/1.2 and later is read as HTTP/1.1, as RFC 9110 section
	// 2.5 has it.
	Minor uint8
	// Form is the form of the target.
	Form Form
	// Chunked says that the content comes in chunks.
	Chunked bool
	// Close says that the connection must be closed behind the response: the peer asked for it, or it speaks HTTP/1.0
	// and did not ask for the contrary.
	Close bool
	// Expect100 says that the peer may wait for 100 (Continue) before it sends content. Always false in HTTP/1.0.
	// Any other expectation is left to whoever reads the Expect field.
	Expect100 bool

	phase   phase
	head    []byte
	fault   *Error
	section section

	start, methodEnd      uint32
	target, targetEnd     uint32
	path, pathEnd         uint32 // where the path is empty, Path says "/"
	authority, hostEnd    uint32
	authorityEnd, lineEnd uint32
}

// phase is how far a head has been parsed; it only moves forward until Reset.
type phase uint8

const (
	phaseStart  phase = iota // nothing yet, or empty lines before the request line
	phaseLine                // in the request line or status line
	phaseFields              // in the field section
	phaseDone                // complete: the next Parse begins a new message
	phaseFailed              // refused: every Parse says so until Reset
)

// Reset forgets the message and the reference to its bytes, and keeps the memory for fields.
func (r *Request) Reset() {
	r.begin()
	r.head = nil
}

// begin makes r ready for a new head.
func (r *Request) begin() {
	r.phase = phaseStart
	r.fault = nil
	r.section.begin(0)
}

// Parse reads a request head at the front of in. It returns the head's length in bytes when the head is complete and
// acceptable; what follows in in is content or the next message. It returns zero without an error when more bytes are
// needed: call again with the same bytes and more behind them, at whatever address. An error is always an [*Error],
// it stays until Reset, and the verdict on a message does not depend on the pieces in which it arrived. After a
// complete head, Parse begins anew; before, Reset makes it do so. A nil limits means DefaultLimits.
//
// Up to two empty lines before the request line are skipped and count as part of the head (RFC 9112 section 2.2).
func (r *Request) Parse(in []byte, limits *Limits) (n int, err error) {
	l := limits.effective()
	if r.phase == phaseDone {
		r.begin()
	}
	if n, err = r.parse(in, &l); err != nil {
		return 0, r.fail(err)
	}
	return n, nil
}

func (r *Request) fail(err error) error {
	r.phase = phaseFailed
	r.fault, _ = err.(*Error)
	return err
}

func (r *Request) parse(in []byte, limits *Limits) (int, error) {
	r.head = in
	switch r.phase {
	case phaseStart:
		ready, err := r.skipLines(in)
		if !ready {
			return 0, err
		}
		r.phase = phaseLine
		fallthrough
	case phaseLine:
		end, err := r.parseLine(in, limits)
		if end == 0 {
			return 0, err
		}
		r.lineEnd = uint32(end)
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

// MethodToken returns the method as it was sent.
func (r *Request) MethodToken() []byte { return r.head[r.start:r.methodEnd:r.methodEnd] }

// Target returns the whole request target as it was sent.
func (r *Request) Target() []byte { return r.head[r.target:r.targetEnd:r.targetEnd] }

var (
	rootPath = []byte("/")
	anyPath  = []byte("*")
)

// Path returns the path of the target, still percent-encoded. It begins with '/', also when an absolute-form leaves
// the path out; it is "*" for the asterisk-form and nil for the authority-form.
func (r *Request) Path() []byte {
	switch r.Form {
	case AsteriskForm:
		return anyPath
	case AuthorityForm:
		return nil
	}
	if r.path == r.pathEnd {
		return rootPath
	}
	return r.head[r.path:r.pathEnd:r.pathEnd]
}

// Query returns what follows the first '?' of the target, still percent-encoded. It is nil when there is no '?', and
// empty but not nil when nothing follows.
func (r *Request) Query() []byte {
	if r.pathEnd == r.targetEnd {
		return nil
	}
	return r.head[r.pathEnd+1 : r.targetEnd : r.targetEnd]
}

// Authority returns host and port as they were sent: of the target if it names them, otherwise of the Host field. It
// is empty when the Host field is, or when HTTP/1.0 has none. Its syntax has been checked.
func (r *Request) Authority() []byte { return r.head[r.authority:r.authorityEnd:r.authorityEnd] }

// Host returns the authority without its port; an IPv6 address keeps its brackets. The case is the sender's.
func (r *Request) Host() []byte { return r.head[r.authority:r.hostEnd:r.hostEnd] }

// Port returns the authority's port, decimal digits up to 65535, or nil when there is none.
func (r *Request) Port() []byte {
	if r.hostEnd+1 >= r.authorityEnd {
		return nil
	}
	return r.head[r.hostEnd+1 : r.authorityEnd : r.authorityEnd]
}

// HasBody says that content follows the head: at least one chunk or one byte. A Content-Length of zero is none.
func (r *Request) HasBody() bool { return r.Chunked || r.ContentLength > 0 }

// Head returns the whole head, the empty lines before and the empty line behind it included.
func (r *Request) Head() []byte { return r.head }

// Field returns the value of a known field, and whether it is there; of a field that was sent more than once, the
// first. Whether there are more is what Repeated says.
func (r *Request) Field(id KnownField) ([]byte, bool) { return r.section.known(r.head, id) }

// Repeated says that a known field was sent on more than one line. It never is for Host, ContentLength and
// TransferEncoding.
func (r *Request) Repeated(id KnownField) bool { return r.section.repeated(id) }

// Lookup returns the value of the first field called name, in any case, and whether there is one. It looks at every
// field: for a name that has a constant, Field is faster.
func (r *Request) Lookup(name string) ([]byte, bool) { return r.section.lookup(r.head, name) }

// Fields returns how many field lines the head has.
func (r *Request) Fields() int { return len(r.section.fields) }

// FieldAt returns name and value of the i-th field line in the order sent, from 0 to Fields()-1. The value is without
// the whitespace around it.
func (r *Request) FieldAt(i int) (name, value []byte) { return r.section.at(r.head, i) }

// KnownAt returns which known field the i-th field line is.
func (r *Request) KnownAt(i int) KnownField { return r.section.fields[i].known }
