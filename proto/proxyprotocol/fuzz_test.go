package proxyprotocol

import "testing"

// FuzzParse checks what holds for every input: the verdict does not depend on how the bytes come, a header that was
// understood is understood in the same way once more when it is written anew, and nothing is longer than its limit.
func FuzzParse(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.in), uint16(5))
	}
	for _, test := range refused {
		f.Add([]byte(test.in), uint16(20))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		n, h, err := Parse(in)
		if n < 0 || n > len(in) || n > MaxV2Bytes || n > 0 && err != nil || h.Version == 1 && n > MaxV1Bytes {
			t.Fatalf("%d of %d bytes, %v", n, len(in), err)
		}
		if n == 0 && err == nil && len(in) >= MaxV2Bytes {
			t.Fatalf("%d bytes are not enough", len(in))
		}
		part := in[:min(int(cut), len(in))]
		switch early, _, before := Parse(part); {
		case before != nil && before != err:
			t.Fatalf("%v after %d bytes, %v after all", before, len(part), err)
		case early != 0 && early != n:
			t.Fatalf("%d after %d bytes, %d after all", early, len(part), n)
		case n != 0 && len(part) >= n && early != n:
			t.Fatalf("%d bytes of a header of %d are not enough", len(part), n)
		}
		if n == 0 {
			return
		}
		var again []byte
		if h.Version == 1 {
			again = AppendV1(nil, &h)
		} else {
			again = AppendV2(nil, &h, false)
		}
		m, g, err := Parse(again)
		if m != len(again) || err != nil || h.Extra == nil && len(g.Extra) > 0 {
			t.Fatalf("written anew it is %q: %d, %v", again, m, err)
		}
		for _, c := range h.Extra {
			if c == TypeCRC32C { // the sum of the old header need not be that of the new one
				return
			}
		}
		if g.Local != h.Local || g.Source.Addr().Unmap() != h.Source.Addr().Unmap() ||
			g.Source.Port() != h.Source.Port() || g.Destination.Port() != h.Destination.Port() {
			t.Fatalf("%+v became %+v", h, g)
		}
	})
}
