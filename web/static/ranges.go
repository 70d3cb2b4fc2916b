package static

import "github.com/myriad-server/myriad/proto/http1"

// maxRanges is how many ranges one request may have; with more, it gets the whole file (RFC 9110 section 14.2 leaves
// that to the server).
const maxRanges = 16

// span is a range of bytes of a file: n of them from the offset on.
type span struct{ from, n int64 }

// asked is what a Range field comes to.
type asked uint8

const (
	everything    asked = iota // the field does not count
	some                       // ranges
	unsatisfiable              // none of what it asks for is there, or it cannot be read
)

// parseRange reads a Range field for a file of size bytes, and appends its ranges to spans. A unit that is not bytes
// does not count, nor does a field that asks for more bytes than the file has, which saves nothing. An empty file is
// always sent whole.
func parseRange(value []byte, size int64, spans []span) ([]span, asked) {
	unit, set, ok := cut(value, '=')
	if !ok || !http1.EqualFold(unit, "bytes") || size == 0 {
		return nil, everything
	}
	beyond, total := false, int64(0)
	for more := true; more; {
		var spec []byte
		spec, set, more = cut(set, ',')
		if len(spec) == 0 {
			continue
		}
		s, readable := parseSpan(spec, size)
		switch {
		case !readable:
			return nil, unsatisfiable
		case s.n == 0:
			beyond = true
		case len(spans) == maxRanges:
			return nil, everything
		default:
			spans = append(spans, s)
			total += s.n
		}
	}
	switch {
	case len(spans) == 0 && beyond:
		return nil, unsatisfiable
	case len(spans) == 0 || total > size:
		return nil, everything
	}
	return spans, some
}

// parseSpan reads one range: "first-last", "first-" or "-length". A range of which nothing is there has no bytes.
func parseSpan(spec []byte, size int64) (span, bool) {
	first, end, ok := cut(spec, '-')
	if !ok {
		return span{}, false
	}
	if len(first) == 0 {
		n, ok := number(end)
		n = min(n, size)
		return span{size - n, n}, ok
	}
	from, ok := number(first)
	if !ok {
		return span{}, false
	}
	to := size - 1
	if len(end) > 0 {
		at, ok := number(end)
		if !ok || at < from {
			return span{}, false
		}
		to = min(at, to)
	}
	return span{from, max(0, to-from+1)}, true
}

// number reads decimal digits. What is too large for an int64 is the largest one: no file is larger.
func number(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	const largest = 1<<63 - 1
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if d := int64(c - '0'); n > (largest-d)/10 {
			n = largest
		} else {
			n = n*10 + d
		}
	}
	return n, true
}
