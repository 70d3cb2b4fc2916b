package http1

import "bytes"

// What a proxy needs beyond reading: to copy what it does not change, and to keep a head that must outlive its bytes.

// Moved says that the bytes of the complete head lie somewhere else from now on: head holds the same bytes as Head, and
// what the methods return lies in it. It spares another Parse.
func (r *Request) Moved(head []byte) { r.head = head[:len(head):len(head)] }

// Lines returns the field lines from i up to but not including j as they were received, each with its line end. They
// have passed every check of Parse. i and j are at most Fields().
func (r *Request) Lines(i, j int) []byte { return r.section.lines(r.head, i, j) }

// Lines returns the field lines from i up to but not including j as they were received, each with its line end. They
// have passed every check of Parse. i and j are at most Fields().
func (r *Response) Lines(i, j int) []byte { return r.section.lines(r.head, i, j) }

// lines finds where the lines begin and end. A line begins with its name, and the empty line follows the last.
func (s *section) lines(head []byte, i, j int) []byte {
	if i >= j {
		return nil
	}
	end := len(head) - len("\r\n")
	if j < len(s.fields) {
		end = int(s.fields[j].name)
	}
	return head[s.fields[i].name:end:end]
}

// AppendEndToEnd appends the field lines that are for whoever comes behind a proxy, as they were received: all but
// those of the fields in drop or called like one of other, which is in lower case; those that a Connection field names
// (RFC 9110 section 7.6.1); and those called "Proxy", which many programs take for a setting, or "Proxy-" and
// something. Unless underscores are welcome, fields with one in their name are left out too: to programs that were told
// of fields by the environment, as CGI does, X_Real_IP is X-Real-IP, so they would get around what is dropped here.
func (r *Request) AppendEndToEnd(dst []byte, drop FieldSet, other []string, underscores bool) []byte {
	return r.section.appendEndToEnd(dst, r.head, drop, other, underscores)
}

// AppendEndToEnd appends the field lines that are for whoever comes behind a proxy, as Request.AppendEndToEnd does
// where underscores are welcome.
func (r *Response) AppendEndToEnd(dst []byte, drop FieldSet, other []string) []byte {
	return r.section.appendEndToEnd(dst, r.head, drop, other, true)
}

// appendEndToEnd copies lines that stay together in one piece.
func (s *section) appendEndToEnd(dst, head []byte, drop FieldSet, other []string, underscores bool) []byte {
	named := s.has(Connection) && s.namesFields(head)
	from := 0
	for i := range s.fields {
		f := &s.fields[i]
		gone := drop.Contains(f.known)
		if !gone && (f.known == UnknownField || named) {
			name := head[f.name : f.name+uint32(f.size)]
			gone = f.known == UnknownField &&
				(!underscores && bytes.IndexByte(name, '_') >= 0 || forProxies(name) || among(name, other)) ||
				named && s.connectionNames(head, name)
		}
		if gone {
			dst = append(dst, s.lines(head, from, i)...)
			from = i + 1
		}
	}
	return append(dst, s.lines(head, from, len(s.fields))...)
}

// namesFields says that there is more to the Connection fields than one of the two usual options.
func (s *section) namesFields(head []byte) bool {
	value, _ := s.known(head, Connection)
	return s.repeated(Connection) || !EqualFold(value, "keep-alive") && !EqualFold(value, "close")
}

func forProxies(name []byte) bool {
	const prefix = "proxy"
	if len(name) < len(prefix) || name[0]|0x20 != 'p' || !EqualFold(name[:len(prefix)], prefix) {
		return false
	}
	return len(name) == len(prefix) || name[len(prefix)] == '-'
}

func among(name []byte, lower []string) bool {
	for _, l := range lower {
		if EqualFold(name, l) {
			return true
		}
	}
	return false
}

// AppendKnown appends all lines of a known field as they were received.
func (r *Request) AppendKnown(dst []byte, id KnownField) []byte {
	return r.section.appendKnown(dst, r.head, id)
}

// AppendKnown appends all lines of a known field as they were received.
func (r *Response) AppendKnown(dst []byte, id KnownField) []byte {
	return r.section.appendKnown(dst, r.head, id)
}

func (s *section) appendKnown(dst, head []byte, id KnownField) []byte {
	for i := range s.fields {
		if s.fields[i].known == id {
			dst = append(dst, s.lines(head, i, i+1)...)
		}
	}
	return dst
}

// Has reports whether any of the known fields of a set is there.
func (r *Request) Has(set FieldSet) bool { return r.section.present&uint64(set) != 0 }

// Has reports whether any of the known fields of a set is there.
func (r *Response) Has(set FieldSet) bool { return r.section.present&uint64(set) != 0 }

// FieldSet is a set of known fields.
type FieldSet uint64

// FieldsOf is the set of some fields.
func FieldsOf(fields ...KnownField) (set FieldSet) {
	for _, f := range fields {
		set |= 1 << f
	}
	return set
}

// Contains says that a field is in the set. UnknownField never is.
func (s FieldSet) Contains(f KnownField) bool { return s>>f&1 != 0 }

// Identify returns which known field has a name, in any case of its letters.
func Identify(name string) KnownField { return identifyName(name) }

// AppendTrailers appends the end of a chunked body as AppendChunkEnd does, with the trailers that d has read, which
// hold none of the names that are not allowed there.
func (d *BodyDecoder) AppendTrailers(dst []byte) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range d.Trailers() {
		name, value := d.Trailer(i)
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
