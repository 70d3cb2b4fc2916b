package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// addHeads gives every head of the tables to a fuzz target, which adds it with further arguments.
func addHeads(add func(in []byte)) {
	for _, test := range refusals {
		add([]byte(test.in))
	}
	for _, test := range fieldRefusals {
		add([]byte("POST / HTTP/1.1\r\nHost: a\r\n" + test.lines + "\r\n\r\n"))
	}
	for _, in := range []string{
		smallHead, browserHead, "\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive, x\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "GET HTTP://a.b:81?c/d HTTP/1.9\r\nHost: e\r\n\r\n",
		"POST /%41?%zz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n" +
			"Trailer: Digest\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
		"PUT //a:b/../c;d HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\nConnection: close\r\n\r\n",
	} {
		add([]byte(in))
	}
}

// FuzzRequest checks what holds for every input: the verdict does not depend on how the bytes are cut, what is
// returned lies in the head in the order it should, and a head written anew from its parts means the same.
func FuzzRequest(f *testing.F) {
	addHeads(func(in []byte) { f.Add(in, uint16(9), uint16(0)) })
	addHeads(func(in []byte) { f.Add(in, uint16(30), uint16(40)) })
	f.Fuzz(func(t *testing.T, in []byte, cut, headBytes uint16) {
		if len(in) > 4096 {
			return // byte by byte, longer inputs only take longer
		}
		limits := Limits{HeadBytes: int(headBytes), TargetBytes: int(headBytes / 2), Fields: int(headBytes / 8)}
		whole, err := parseWhole(string(in), &limits)
		var r Request
		single := make([]int, len(in)+1)
		for i := range single {
			single[i] = i
		}
		if got := parsePieces(&r, string(in), &limits, single...); got != whole {
			t.Fatalf("byte by byte: %s\nwhole: %s", got, whole)
		}
		r.Reset()
		if got := parsePieces(&r, string(in), &limits, int(cut)%(len(in)+1), len(in)); got != whole {
			t.Fatalf("cut: %s\nwhole: %s", got, whole)
		}
		if err != nil || whole == "incomplete" {
			return
		}
		r.Reset()
		n, _ := r.Parse(in, &limits)
		checkOffsets(t, &r, n, &limits)
		head, ok := AppendRequestLine(nil, r.MethodToken(), r.Target())
		if !ok {
			t.Fatalf("%q %q cannot be written", r.MethodToken(), r.Target())
		}
		if r.Minor == 0 {
			head = bytes.Replace(head, []byte(" HTTP/1.1\r\n"), []byte(" HTTP/1.0\r\n"), 1)
		}
		for i := range r.Fields() {
			name, value := r.FieldAt(i)
			head = AppendField(head, name, value)
		}
		again, _ := parseWhole(string(AppendHeadEnd(head)), &Limits{Fields: largestFields})
		_, again, _ = strings.Cut(again, " ")
		if _, whole, _ = strings.Cut(whole, " "); again != whole {
			t.Fatalf("written: %q\nread: %s\nwhole: %s", head, again, whole)
		}
	})
}

// checkOffsets requires everything that was found to lie in the head, one behind the other, within the limits.
func checkOffsets(t *testing.T, r *Request, n int, limits *Limits) {
	t.Helper()
	e := limits.effective()
	if n <= 0 || n > e.HeadBytes || len(r.Head()) != n || len(r.Target()) > e.TargetBytes || r.Fields() > e.Fields {
		t.Fatalf("beyond a limit: n=%d target=%d fields=%d", n, len(r.Target()), r.Fields())
	}
	ascending := []uint32{r.start, r.methodEnd, r.target, r.targetEnd, r.lineEnd}
	for i := range r.section.fields {
		f := &r.section.fields[i]
		ascending = append(ascending, f.name, f.name+uint32(f.size), f.value, f.end)
	}
	ascending = append(ascending, uint32(n))
	for i := range ascending[1:] {
		if ascending[i] > ascending[i+1] {
			t.Fatalf("offsets out of order: %v", ascending)
		}
	}
	if r.authority > r.hostEnd || r.hostEnd > r.authorityEnd || r.authorityEnd > uint32(n) {
		t.Fatalf("authority from %d to %d, host to %d", r.authority, r.authorityEnd, r.hostEnd)
	}
}

// FuzzRequestAgainstStandard requires net/http to read what this package accepts, and to read the same. The
// disagreements that are allowed, because net/http is the stricter one there, or just another:
//
//   - empty lines before the request line, which net/http does not skip;
//   - a target that net/url does not parse: percent-encoding is checked by whoever decodes the target, and raw
//     characters such as '{' are accepted in a target but not where net/url sees a host;
//   - a Trailer field that announces fields not allowed as trailers: here they are refused when they come.
func FuzzRequestAgainstStandard(f *testing.F) {
	addHeads(func(in []byte) { f.Add(in) })
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Request
		n, err := r.Parse(in, nil)
		if err != nil || n == 0 {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[r.start:])))
		if err != nil {
			if allowedRefusal(&r, err) {
				return
			}
			t.Fatalf("%q: net/http: %v", in[:n], err)
		}
		if theirs.Method != string(r.MethodToken()) || theirs.RequestURI != string(r.Target()) {
			t.Errorf("request line %s %s", theirs.Method, theirs.RequestURI)
		}
		if theirs.Host != string(r.Authority()) {
			t.Errorf("host %q, here %q", theirs.Host, r.Authority())
		}
		chunked := len(theirs.TransferEncoding) == 1 && theirs.TransferEncoding[0] == "chunked"
		if chunked != r.Chunked || !chunked && theirs.ContentLength != max(r.ContentLength, 0) {
			t.Errorf("length %d, coding %q; here %d, %v", theirs.ContentLength, theirs.TransferEncoding,
				r.ContentLength, r.Chunked)
		}
		if theirs.Close != r.Close {
			t.Errorf("close %v, here %v", theirs.Close, r.Close)
		}
		checkFields(t, &r, theirs.Header)
	})
}

func allowedRefusal(r *Request, err error) bool {
	if strings.Contains(err.Error(), "bad trailer key") {
		_, announced := r.Field(Trailer)
		return announced && r.Chunked
	}
	target := string(r.Target())
	if r.Form == AuthorityForm {
		target = "http://" + target
	}
	_, refused := url.ParseRequestURI(target)
	return refused != nil
}

// checkFields compares the fields that net/http keeps among the others.
func checkFields(t *testing.T, r *Request, theirs http.Header) {
	t.Helper()
	ours := http.Header{}
	for i := range r.Fields() {
		name, value := r.FieldAt(i)
		switch r.KnownAt(i) {
		case Host, TransferEncoding, Trailer, Pragma, CacheControl: // moved elsewhere, or derived from each other
		default:
			ours.Add(string(name), string(value))
		}
	}
	for name, values := range ours {
		if strings.Join(theirs[name], "\n") != strings.Join(values, "\n") {
			t.Errorf("%s: %q, here %q", name, theirs[name], values)
		}
	}
}

// FuzzBody checks that a chunked body means the same however it is cut, and that where net/http accepts it too, the
// content and what is left behind it are the same.
func FuzzBody(f *testing.F) {
	for _, in := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nGET /", "00A\r\n0123456789\r\n000\r\n\r\n",
		"1;a\r\nx\r\n1;a=b;c;d=\"e;\\\"\xff\t f\";g\r\ny\r\n0\r\n\r\n",
		"1 ;\ta \t=\t b\t ; c = \"d\"\r\nx\r\n0\r\n\r\n", "1\r\nx\r\n0\r\nDigest: a b \r\nX-Count:1\r\n\r\nGET",
		"5\r\nhel", "1\nx\n0\n\n",
		"0\r\nContent-Length: 5\r\n\r\n", "ffffffffffffffff\r\n", "1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n",
	} {
		f.Add([]byte(in))
	}
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1024 {
			return // cut at every point, longer inputs only take longer
		}
		content, used, outcome := checkBody(t, (*BodyDecoder).StartChunked, string(in))
		if used > len(in) || len(content) > used {
			t.Fatalf("%d bytes used, %d of content", used, len(content))
		}
		if !strings.HasPrefix(outcome, "done") {
			return
		}
		reader := bufio.NewReader(io.MultiReader(strings.NewReader(head), bytes.NewReader(in)))
		request, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		rest, err := io.ReadAll(reader)
		if err != nil || string(theirs) != content || !bytes.Equal(rest, in[used:]) {
			t.Fatalf("net/http: %q, then %q (%v)\nhere: %q, then %q", theirs, rest, err, content, in[used:])
		}
	})
}

// FuzzTime requires what is accepted to survive formatting and to be the same time for net/http, which has no leap
// seconds; and every second that has a format to be read back.
func FuzzTime(f *testing.F) {
	f.Add([]byte("Sun, 06 Nov 1994 08:49:37 GMT"), int64(0))
	f.Add([]byte("Sunday, 06-Nov-94 08:49:37 GMT"), int64(784111777))
	f.Add([]byte("Sun Nov  6 08:49:37 1994"), int64(latestTime))
	f.Add([]byte("Thu, 29 Feb 2024 23:59:60 GMT"), int64(earliestTime))
	f.Fuzz(func(t *testing.T, in []byte, unix int64) {
		unix %= latestTime
		text := FormatTime(nil, unix)
		if back, ok := ParseTime(text); !ok || back != max(unix, earliestTime) {
			t.Fatalf("%d is %s is %d, %v", unix, text, back, ok)
		}
		if unix >= earliestTime && string(text) != time.Unix(unix, 0).UTC().Format(http.TimeFormat) {
			t.Fatalf("%d is %s", unix, text)
		}
		ours, ok := ParseTime(in)
		theirs, err := http.ParseTime(string(in))
		switch {
		case ok && err == nil && theirs.Unix() != ours:
			t.Fatalf("%q is %d, in net/http %d", in, ours, theirs.Unix())
		case ok && err != nil && !bytes.Contains(in, []byte(":60 ")):
			t.Fatalf("%q is %d, in net/http %v", in, ours, err)
		case !ok && err == nil && theirs.UTC().Format(http.TimeFormat) == string(in):
			t.Fatalf("%q is refused", in)
		}
	})
}
