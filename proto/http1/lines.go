package http1

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
