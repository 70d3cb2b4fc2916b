package static

import (
	"testing"
)

// FuzzRange checks that whatever a Range field says, the ranges lie in the file and are not more than it.
func FuzzRange(f *testing.F) {
	for _, s := range []string{
		"bytes=0-0", "bytes=0-", "bytes=-1", "bytes=1-2,4-5 , -3", "bytes=,", "bytes=5-1", "bytes=-0", "items=1-2", "bytes",
		"bytes=99999999999999999999-", "bytes=0-99999999999999999999", "Bytes = 1 - 2",
	} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, value string, size int64) {
		if size < 0 {
			return
		}
		var room [maxRanges]span
		spans, what := parseRange([]byte(value), size, room[:0])
		if (what == some) != (len(spans) > 0) || len(spans) > maxRanges {
			t.Fatalf("%d ranges, %d", len(spans), what)
		}
		total := int64(0)
		for _, s := range spans {
			if s.from < 0 || s.n <= 0 || s.n > size || s.from > size-s.n {
				t.Fatalf("%+v of %d bytes", s, size)
			}
			if total += s.n; total < 0 || total > size {
				t.Fatalf("%d bytes of %d", total, size)
			}
		}
	})
}

// FuzzLists checks that lists of codings and of entity tags can be read whatever they hold.
func FuzzLists(f *testing.F) {
	f.Add("gzip;q=0.5, br", `"a", W/"b"`)
	f.Add(";;,=,q", `W/,"`)
	f.Fuzz(func(t *testing.T, codings, tags string) {
		if w := quality([]byte(codings)); w < 0 || w > 1000 {
			t.Fatal(w)
		}
		for rest := []byte(tags); len(rest) > 0; {
			tag, _, behind := entityTag(rest)
			if tag == nil {
				break
			}
			if len(behind) >= len(rest) || tag[0] != '"' || tag[len(tag)-1] != '"' {
				t.Fatalf("%q, then %q", tag, behind)
			}
			rest = behind
		}
	})
}
