package http1

import "bytes"

// field is one field line as offsets into the bytes that were scanned: those may move, the offsets stay.
type field struct {
	name, value, end uint32 // where the name begins, where the trimmed value begins and ends
	size             uint16 // length of the name
	known            KnownField
}

// longestName bounds a field name in bytes, so that its length fits the field record.
const longestName = 1<<16 - 1

// section scans a field section (the header fields of a request or a response, or trailers) line by line and keeps
// what it found. It stands at the beginning of the first line that was not complete yet.
type section struct {
	fields  []field
	present uint64              // bit set of the known fields
	twice   uint64              // bit set of those seen more than once
	first   [knownFields]uint16 // index of the first, meaningful where present says so
	line    int                 // where the unfinished line begins
	seen    int                 // no LF lies between line and here
}

// begin forgets everything and stands at offset at. It keeps the memory for the records.
func (s *section) begin(at int) {
	s.fields = s.fields[:0]
	s.present, s.twice = 0, 0
	s.line, s.seen = at, at
}

// scan goes on with the field section in in. It returns the offset behind the empty line that ends it, or zero when
// that has not arrived.
func (s *section) scan(in []byte, limits *Limits) (int, error) {
	if s.seen > s.line && bytes.IndexByte(in[min(s.seen, len(in)):], '\n') < 0 {
		return s.wait(in, limits)
	}
	i := s.line
	for {
		start := i
		for i < len(in) && class[in[i]]&tokenByte != 0 {
			i++
		}
		if i >= len(in) {
			return s.stop(in, start, limits, nil)
		}
		if in[i] != ':' || i == start {
			if i == start && in[i] == '\r' {
				return s.end(in, start, limits)
			}
			return s.stop(in, start, limits, nameError(in, start, i))
		}
		size := i - start
		i++
		for i < len(in) && (in[i] == ' ' || in[i] == '\t') {
			i++
		}
		value := i
		for i = nextControl(in, i); i < len(in) && in[i] == '\t'; {
			i = nextControl(in, i+1)
		}
		if i+1 >= len(in) || in[i] != '\r' || in[i+1] != '\n' {
			return s.stop(in, start, limits, valueError(in, i))
		}
		end := i
		for end > value && (in[end-1] == ' ' || in[end-1] == '\t') {
			end--
		}
		i += 2
		if i > limits.HeadBytes || size > longestName {
			return 0, ErrHeadSize
		}
		if len(s.fields) >= limits.Fields {
			return 0, ErrFieldCount
		}
		s.add(field{uint32(start), uint32(value), uint32(end), uint16(size), identify(in[start:], size)})
	}
}

// add records a field line.
func (s *section) add(f field) {
	if f.known != UnknownField {
		bit := uint64(1) << f.known
		if s.present&bit == 0 {
			s.first[f.known] = uint16(len(s.fields))
		}
		s.twice |= s.present & bit
		s.present |= bit
	}
	s.fields = append(s.fields, f)
}

// end decides about a line that begins with CR.
func (s *section) end(in []byte, start int, limits *Limits) (int, error) {
	if start+1 >= len(in) {
		return s.stop(in, start, limits, nil)
	}
	if in[start+1] != '\n' {
		return s.stop(in, start, limits, ErrLineEnd)
	}
	if start+2 > limits.HeadBytes {
		return 0, ErrHeadSize
	}
	s.line, s.seen = start, start
	return start + 2, nil
}

// stop ends a scan in the line that begins at start. A fault is reported only once its line is complete, and a line
// over the limit is over the limit whatever else is wrong with it: so the verdict does not depend on how the bytes
// were cut into pieces.
func (s *section) stop(in []byte, start int, limits *Limits, fault *Error) (int, error) {
	s.line = start
	length := bytes.IndexByte(in[start:], '\n')
	if length < 0 {
		return s.wait(in, limits)
	}
	if start+length >= limits.HeadBytes {
		return 0, ErrHeadSize
	}
	return 0, fault
}

// wait says that more bytes are needed, unless more would be too many.
func (s *section) wait(in []byte, limits *Limits) (int, error) {
	s.seen = len(in)
	if len(in) >= limits.HeadBytes {
		return 0, ErrHeadSize
	}
	return 0, nil
}

// nameError says what is wrong with a name that stops at i.
func nameError(in []byte, start, i int) *Error {
	switch c := in[i]; {
	case i == start && (c == ' ' || c == '\t'):
		return ErrFold
	case c == '\n' || c == '\r':
		if i > start {
			return ErrFieldName
		}
		return ErrLineEnd
	}
	return ErrFieldName
}

// valueError says what is wrong with a value that stops at i.
func valueError(in []byte, i int) *Error {
	if i < len(in) && in[i] != '\r' && in[i] != '\n' {
		return ErrFieldValue
	}
	return ErrLineEnd
}

// has reports whether a known field is present.
func (s *section) has(id KnownField) bool { return s.present>>id&1 != 0 }

// repeated reports whether a known field is present more than once.
func (s *section) repeated(id KnownField) bool { return s.twice>>id&1 != 0 }

// known returns the value of the first field of that name.
func (s *section) known(head []byte, id KnownField) ([]byte, bool) {
	if id >= knownFields || !s.has(id) {
		return nil, false
	}
	f := &s.fields[s.first[id]]
	return head[f.value:f.end:f.end], true
}

// at returns name and value of the i-th field.
func (s *section) at(head []byte, i int) (name, value []byte) {
	f := &s.fields[i]
	nameEnd := f.name + uint32(f.size)
	return head[f.name:nameEnd:nameEnd], head[f.value:f.end:f.end]
}

// lookup returns the value of the first field called name, in any case.
func (s *section) lookup(head []byte, name string) ([]byte, bool) {
	for i := range s.fields {
		f := &s.fields[i]
		if int(f.size) == len(name) && sameName(head[f.name:f.name+uint32(f.size)], name) {
			return head[f.value:f.end:f.end], true
		}
	}
	return nil, false
}

// sameName compares two names of one length without regard to the case of ASCII letters.
func sameName[A, B ~[]byte | ~string](a A, b B) bool {
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}
