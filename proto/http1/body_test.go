package http1

import (
	"fmt"
	"strings"
	"testing"
)

// decode feeds in to d, cut at the given lengths, and returns the content, how many bytes were used, and the outcome
// with the trailers.
func decode(d *BodyDecoder, in string, lengths ...int) (content string, used int, outcome string) {
	var b strings.Builder
	for _, length := range lengths {
		piece := []byte(in[:length])
		for {
			payload, n, done, err := d.Decode(piece[used:])
			b.Write(payload)
			used += n
			if err != nil {
				return b.String(), used, err.Error()
			}
			if done {
				outcome = "done"
				for i := range d.Trailers() {
					name, value := d.Trailer(i)
					outcome += fmt.Sprintf(" %s=%s", name, value)
				}
				return b.String(), used, outcome
			}
			if n == 0 {
				break
			}
		}
	}
	return b.String(), used, "incomplete"
}

// checkBody decodes in whole, byte by byte and cut in two at every point, and requires the same each time; of how much
// was used only when the body is done, for framing may be taken in smaller or larger steps before.
func checkBody(t *testing.T, start func(d *BodyDecoder), in string) (content string, used int, outcome string) {
	t.Helper()
	var d BodyDecoder
	start(&d)
	content, used, outcome = decode(&d, in, len(in))
	compare := func(how string, lengths ...int) {
		start(&d)
		c, u, o := decode(&d, in, lengths...)
		if c != content || o != outcome || u != used && strings.HasPrefix(o, "done") {
			t.Fatalf("%q\n%s: %q, %d, %s\nwhole: %q, %d, %s", in, how, c, u, o, content, used, outcome)
		}
	}
	single := make([]int, len(in))
	for i := range single {
		single[i] = i + 1
	}
	if len(in) > 0 {
		compare("byte by byte", single...)
	}
	for i := 0; i <= len(in); i += 1 + len(in)/2000 {
		compare(fmt.Sprintf("split at %d", i), i, len(in))
	}
	return content, used, outcome
}

func TestChunked(t *testing.T) {
	tests := []struct {
		name, in string
		content  string
		rest     int // bytes behind the body
		outcome  string
	}{
		{"no content", "0\r\n\r\n", "", 0, "done"},
		{"one chunk and another message", "5\r\nhello\r\n0\r\n\r\nGET /", "hello", 5, "done"},
		{
			"hexadecimal, zeros", "00A\r\n0123456789\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n000\r\n\r\n",
			"0123456789abcdefghijklmnopqrstuvwxyz", 0, "done",
		},
		{"line ends in the data", "6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", "\r\n0\r\n\r", 0, "done"},
		{"extensions", "1;a\r\nx\r\n1;a=b;c;d=\"e;\\\"\\\\\xff\t f\";g\r\ny\r\n0;last\r\n\r\n", "xy", 0, "done"},
		{"blanks in extensions", "1 ;\ta \t=\t b\t ; c = \"d\" ;e\r\nx\r\n0\r\n\r\n", "x", 0, "done"},
		{"trailers", "1\r\nx\r\n0\r\nDigest: a b \r\nX-Count:1\r\n\r\nGET", "x", 3, "done Digest=a b X-Count=1"},
		{"incomplete size", "5", "", 0, "incomplete"},
		{"incomplete data", "5\r\nhel", "hel", 0, "incomplete"},
		{"incomplete end", "5\r\nhello\r", "hello", 0, "incomplete"},
		{"incomplete trailers", "0\r\nA: b\r\n\r", "", 0, "incomplete"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content, used, outcome := checkBody(t, (*BodyDecoder).StartChunked, test.in)
			if content != test.content || used != len(test.in)-test.rest || outcome != test.outcome {
				t.Errorf("got %q, %d, %s", content, used, outcome)
			}
		})
	}
}

func TestChunkedRefuse(t *testing.T) {
	chunks := strings.Repeat("1;a\r\nx\r\n", 3000)
	tests := []struct {
		name, in string
		want     *Error
	}{
		{"empty size", "\r\nx", ErrChunkSize},
		{"extension without size", ";a\r\nx\r\n", ErrChunkSize},
		{"no digit", "g\r\n", ErrChunkSize},
		{"space before size", " 1\r\nx\r\n", ErrChunkSize},
		{"signed size", "+1\r\nx\r\n", ErrChunkSize},
		{"negative size", "-1\r\nx\r\n", ErrChunkSize},
		{"prefixed size", "0x1\r\nx\r\n", ErrChunkSize},
		{"size with underscore", "1_0\r\nx\r\n", ErrChunkSize},
		{"size with point", "1.\r\nx\r\n", ErrChunkSize},
		{"size with comma", "1,a\r\nx\r\n", ErrChunkSize},
		{"size in quotes", "\"1\"\r\nx\r\n", ErrChunkSize},
		{"NUL behind size", "1\x00\r\nx\r\n", ErrChunkSize},
		{"LF behind size", "1\nx\r\n0\r\n\r\n", ErrChunkSize},
		{"bare CR behind size", "1\rx", ErrLineEnd},
		{"CR CR LF behind size", "1\r\r\nx\r\n", ErrLineEnd},
		{"space behind size", "1 \r\nx\r\n", ErrChunkExtension},
		{"two sizes", "1 1\r\nx\r\n", ErrChunkExtension},
		{"sixteen digits", "8000000000000000\r\n", ErrChunkLarge},
		{"wraps around", "10000000000000001\r\nx\r\n", ErrChunkLarge},
		{"many zeros", strings.Repeat("0", 17) + "\r\n\r\n", ErrChunkLarge},
		{"data too long", "1\r\nxy\r\n", ErrChunkEnd},
		{"data too short", "3\r\nx\r\n0\r\n\r\n", ErrChunkEnd},
		{"LF behind data", "1\r\nx\n0\r\n\r\n", ErrChunkEnd},
		{"CR behind data", "1\r\nx\r0\r\n\r\n", ErrChunkEnd},
		{"nothing behind data", "1\r\nx0\r\n\r\n", ErrChunkEnd},
		{"empty extension", "1;\r\nx\r\n", ErrChunkExtension},
		{"two semicolons", "1;;a\r\nx\r\n", ErrChunkExtension},
		{"LF in extension", "1;a\nx\r\n", ErrChunkExtension},
		{"LF first in extension", "1;\nx\r\n", ErrChunkExtension},
		{"LF in quotes", "1;a=\"\n\"\r\nx\r\n", ErrChunkExtension},
		{"CR in quotes", "1;a=\"\r\n\"\r\nx\r\n", ErrChunkExtension},
		{"LF escaped", "1;a=\"\\\n\"\r\nx\r\n", ErrChunkExtension},
		{"open quotes", "1;a=\"b\r\nx\r\n", ErrChunkExtension},
		{"text behind quotes", "1;a=\"b\"c\r\nx\r\n", ErrChunkExtension},
		{"no value", "1;a=\r\nx\r\n", ErrChunkExtension},
		{"no name", "1;=b\r\nx\r\n", ErrChunkExtension},
		{"control in extension", "1;a\x01\r\nx\r\n", ErrChunkExtension},
		{"space behind extension", "1;a \r\nx\r\n", ErrChunkExtension},
		{"space behind value", "1;a=b \r\nx\r\n", ErrChunkExtension},
		{"CR in extension", "1;a\rb\r\nx\r\n", ErrLineEnd},
		{"long extension", "1;" + strings.Repeat("a", 5000) + "\r\nx\r\n", ErrExtensionSize},
		{"many extensions", chunks, ErrExtensionSize},
		{"trailer with LF", "0\r\nA: b\n\r\n", ErrLineEnd},
		{"last line with LF", "0\r\n\n", ErrLineEnd},
		{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", ErrFold},
		{"trailer without colon", "0\r\nGET / HTTP/1.1\r\n\r\n", ErrFieldName},
		{"trailer with NUL", "0\r\nA: \x00\r\n\r\n", ErrFieldValue},
		{"length as trailer", "0\r\nContent-length: 5\r\n\r\n", ErrTrailerField},
		{"coding as trailer", "0\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTrailerField},
		{"host as trailer", "0\r\nHOST: a\r\n\r\n", ErrTrailerField},
		{"credentials as trailer", "0\r\nAuthorization: a\r\n\r\n", ErrTrailerField},
		{"long trailer", "0\r\nA: " + strings.Repeat("b", 5000), ErrTrailerSize},
		{"long trailers", "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 300)+"\r\n", 20), ErrTrailerSize},
		{"many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 40) + "\r\n", ErrFieldCount},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, _, got := checkBody(t, (*BodyDecoder).StartChunked, test.in); got != test.want.Error() {
				t.Errorf("%.60q\ngot %s\nwant %s", test.in, got, test.want)
			}
		})
	}
}

func TestExtensionCredit(t *testing.T) {
	// What signed uploads look like: an extension of 85 bytes on each chunk of 8 KiB, and so for 32 MiB.
	chunk := "2000;chunk-signature=" + strings.Repeat("0123456789abcdef", 4) + "\r\n" + strings.Repeat("x", 8192) + "\r\n"
	var d BodyDecoder
	d.StartChunked()
	for i := range 4096 {
		if content, used, outcome := decode(&d, chunk, len(chunk)); len(content) != 8192 || used != len(chunk) {
			t.Fatal(i, len(content), used, outcome)
		}
	}
}

func TestLength(t *testing.T) {
	for _, n := range []int64{-1, 0, 1, 5, 11, 12, 20} {
		content, used, outcome := checkBody(t, func(d *BodyDecoder) { d.StartLength(n) }, "hello world")
		want := "hello world"[:min(max(n, 0), 11)]
		if content != want || used != len(want) || (outcome == "done") != (n <= 11) {
			t.Errorf("%d: %q, %d, %s", n, content, used, outcome)
		}
	}
	var d BodyDecoder
	if !d.Done() || d.Remaining() != 0 {
		t.Error("the zero value is not done")
	}
	d.StartLength(7)
	decode(&d, "abc", 3)
	if d.Done() || d.Remaining() != 4 {
		t.Errorf("%d remain", d.Remaining())
	}
	content, used, outcome := checkBody(t, (*BodyDecoder).StartUntilClose, "a\r\n0\r\n\r\n")
	if content != "a\r\n0\r\n\r\n" || used != 8 || outcome != "incomplete" {
		t.Errorf("until close: %q, %d, %s", content, used, outcome)
	}
	if d.StartUntilClose(); d.Remaining() != -1 {
		t.Errorf("%d remain until close", d.Remaining())
	}
}

func TestBodyStart(t *testing.T) {
	var r Request
	var d BodyDecoder
	for fields, want := range map[string]string{
		"":                               "",
		"Content-Length: 4\r\n":          "4\r\nd",
		"Transfer-Encoding: chunked\r\n": "data",
	} {
		head := "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"
		in := head + "4\r\ndata\r\n0\r\n\r\n"
		n, err := r.Parse([]byte(in), nil)
		if n != len(head) || err != nil || r.HasBody() != (fields != "") {
			t.Fatal(n, err)
		}
		d.Start(&r)
		if content, _, outcome := decode(&d, in[n:], len(in)-n); content != want || outcome != "done" {
			t.Errorf("%q: %q, %s", fields, content, outcome)
		}
	}
}

func TestBodyErrorStays(t *testing.T) {
	var d BodyDecoder
	d.StartChunked()
	for _, in := range []string{"x", "1\r\n", ""} {
		if _, used, done, err := d.Decode([]byte(in)); used != 0 || done || err != error(ErrChunkSize) {
			t.Errorf("%q: %d, %v, %v", in, used, done, err)
		}
	}
	d.TrailerBytes, d.TrailerFields = 20, 1
	d.StartChunked()
	if _, _, outcome := decode(&d, "0\r\nA: b\r\nC: d\r\n\r\n",
		17); outcome != ErrFieldCount.Error() || d.Trailers() != 0 {
		t.Error(outcome)
	}
}
