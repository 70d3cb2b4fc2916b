package http1

// conclude decides what the fields of a complete head mean together: the host, the length of the content and what
// becomes of the connection.
func (r *Request) conclude() *Error {
	s := &r.section
	if fault := r.concludeHost(); fault != nil {
		return fault
	}
	r.ContentLength, r.Chunked, r.Expect100 = -1, false, false
	r.Close = r.Minor == 0
	const decisive = 1<<ContentLength | 1<<TransferEncoding | 1<<Connection | 1<<Expect
	if s.present&decisive == 0 {
		return nil
	}
	framing, fault := s.framing(r.head, r.Minor)
	if fault != nil {
		return fault
	}
	r.ContentLength, r.Chunked = framing.length, framing.chunked
	if r.HasBody() && (r.Method == TRACE || r.Method == CONNECT) {
		return ErrNoContent
	}
	if s.has(Connection) {
		options, fault := s.connection(r.head)
		if fault != nil {
			return fault
		}
		r.Close = options.close || r.Minor == 0 && !options.keepAlive
	}
	if r.Minor > 0 && s.has(Expect) {
		value, _ := s.known(r.head, Expect)
		r.Expect100 = EqualFold(value, "100-continue")
	}
	return nil
}

// concludeHost checks the Host field, which HTTP/1.1 requires whatever the form of the target (RFC 9112 section 3.2).
func (r *Request) concludeHost() *Error {
	s := &r.section
	if !s.has(Host) {
		if r.Minor > 0 {
			return ErrHostMissing
		}
		return nil
	}
	if s.repeated(Host) {
		return ErrHostRepeated
	}
	f := &s.fields[s.first[Host]]
	hostEnd, _, ok := validAuthority(r.head[f.value:f.end])
	if !ok {
		return ErrHost
	}
	if r.Form == OriginForm || r.Form == AsteriskForm {
		r.setAuthority(f.value, hostEnd, int(f.end-f.value))
	}
	return nil
}

// framing is how the content that follows a head is delimited, as far as the fields say.
type framing struct {
	length  int64 // -1: not given
	chunked bool
}

// framing reads Content-Length and Transfer-Encoding. RFC 9112 section 6 leaves room for repair; there is none here.
func (s *section) framing(head []byte, minor uint8) (framing, *Error) {
	none := framing{length: -1}
	switch {
	case s.repeated(ContentLength):
		return none, ErrLengthRepeated
	case s.repeated(TransferEncoding):
		return none, ErrCoding
	case s.has(TransferEncoding):
		if s.has(ContentLength) {
			return none, ErrLengthAndCoded
		}
		if minor == 0 {
			return none, ErrCodingVersion
		}
		value, _ := s.known(head, TransferEncoding)
		if !EqualFold(value, "chunked") {
			return none, codingError(value)
		}
		return framing{length: -1, chunked: true}, nil
	case s.has(ContentLength):
		value, _ := s.known(head, ContentLength)
		length, ok := parseLength(value)
		if !ok {
			return none, ErrLength
		}
		return framing{length: length}, nil
	}
	return none, nil
}

// parseLength reads a Content-Length: digits alone, at most what an int64 holds.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if !isDigit(c) || n > (1<<63-1)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
		if n < 0 {
			return 0, false
		}
	}
	return n, true
}

// codingError tells a coding that is only unknown (501), because chunked still delimits the content, from a list that
// leaves its end in doubt (400), RFC 9112 sections 6.1 and 6.3.
func codingError(value []byte) *Error {
	for rest, more := value, true; more; {
		var member []byte
		member, rest, more = nextMember(rest)
		if !isToken(member) {
			return ErrCoding
		}
		if final := !more; EqualFold(member, "chunked") != final {
			return ErrCoding
		}
	}
	return ErrCodingUnknown
}

// nextMember cuts the first member off a comma-separated list, without whitespace around it, and reports whether a
// comma followed.
func nextMember(list []byte) (member, rest []byte, more bool) {
	for i, c := range list {
		if c == ',' {
			return TrimSpace(list[:i]), list[i+1:], true
		}
	}
	return TrimSpace(list), nil, false
}

// options is what a Connection field may ask for here.
type options struct {
	close, keepAlive bool
}

// connection reads all Connection fields; members may be empty, but what is there must be a token.
func (s *section) connection(head []byte) (options, *Error) {
	var o options
	for i := int(s.first[Connection]); i < len(s.fields); i++ {
		if s.fields[i].known != Connection {
			continue
		}
		_, value := s.at(head, i)
		for more := true; more; {
			var member []byte
			member, value, more = nextMember(value)
			switch {
			case EqualFold(member, "keep-alive"):
				o.keepAlive = true
			case EqualFold(member, "close"):
				o.close = true
			case len(member) > 0 && !isToken(member):
				return o, ErrConnection
			}
		}
	}
	return o, nil
}
