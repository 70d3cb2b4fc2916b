package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// verdict is everything that Parse says about a head, as text: what two ways of feeding the same bytes must agree on.
func verdict(r *Request, n int, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	if n == 0 {
		return "incomplete"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "n=%d %s %q %v 1.%d target=%q path=%q query=%q authority=%q host=%q port=%q ", n, r.Method,
		r.MethodToken(), r.Form, r.Minor, r.Target(), r.Path(), r.Query(), r.Authority(), r.Host(), r.Port())
	fmt.Fprintf(&b, "length=%d%s%s%s\n", r.ContentLength, flag("chunked", r.Chunked), flag("close", r.Close),
		flag("expect", r.Expect100))
	for i := range r.Fields() {
		name, value := r.FieldAt(i)
		fmt.Fprintf(&b, "%d %q: %q\n", r.KnownAt(i), name, value)
	}
	return b.String()
}

// flag returns " name" where on, and nothing otherwise.
func flag(name string, on bool) string {
	if on {
		return " " + name
	}
	return ""
}

// parseWhole parses in in one go.
func parseWhole(in string, limits *Limits) (string, error) {
	var r Request
	n, err := r.Parse([]byte(in), limits)
	return verdict(&r, n, err), err
}

// parsePieces parses in as it grows to each of the given lengths. Every call gets the bytes at another address, and
// those of the call before are cleared.
func parsePieces(r *Request, in string, limits *Limits, lengths ...int) string {
	var before []byte
	for _, length := range lengths {
		now := []byte(in[:length])
		n, err := r.Parse(now, limits)
		clear(before)
		before = now
		if n > 0 || err != nil || length == len(in) {
			return verdict(r, n, err)
		}
	}
	return "incomplete"
}

// checkSplits requires the verdict on the whole to be that on the bytes one at a time and on every pair of pieces.
func checkSplits(t *testing.T, in string, limits *Limits) (string, error) {
	t.Helper()
	whole, err := parseWhole(in, limits)
	if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
		t.Fatalf("error is %T, want *Error", err)
	}
	var single []int // every length of all but the longest inputs
	for i := 0; i < len(in); i += 1 + len(in)/10_000 {
		single = append(single, i)
	}
	single = append(single, len(in))
	var r Request
	if got := parsePieces(&r, in, limits, single...); got != whole {
		t.Fatalf("%q\nbyte by byte: %s\nwhole: %s", in, got, whole)
	}
	step := 1 + len(in)/500 // every split point of all but the longest inputs
	for i := 0; i <= len(in); i += step {
		r.Reset()
		if got := parsePieces(&r, in, limits, i, len(in)); got != whole {
			t.Fatalf("%q\nsplit at %d: %s\nwhole: %s", in, i, got, whole)
		}
	}
	return whole, err
}
