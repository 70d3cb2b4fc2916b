package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// responseVerdict feeds in to r as it grows to the given lengths, and returns what Parse makes of it.
func responseVerdict(r *Response, in string, request Method, limits *Limits, lengths ...int) (string, error) {
	for _, length := range lengths {
		piece := []byte(in[:length])
		n, err := r.Parse(piece, request, limits)
		if err != nil {
			return "refused: " + err.Error(), err
		}
		if n == 0 {
			continue
		}
		got := fmt.Sprintf("%d 1.%d %q length=%d", r.Status, r.Minor, r.Reason(), r.ContentLength)
		got += flag("chunked", r.Chunked) + flag("until", r.UntilClose) + flag("body", r.HasBody()) +
			flag("switched", r.Switched) + flag("close", r.Close)
		for i := range r.Fields() {
			name, value := r.FieldAt(i)
			got += fmt.Sprintf(" %d:%s=%s", r.KnownAt(i), name, value)
		}
		return got, nil
	}
	return "incomplete", nil
}

// checkResponse requires the same verdict on the whole, byte by byte and cut in two at every point.
func checkResponse(t *testing.T, in string, request Method, limits *Limits) (string, error) {
	t.Helper()
	var r Response
	whole, err := responseVerdict(&r, in, request, limits, len(in))
	single := make([]int, len(in)+1)
	for i := range single {
		single[i] = i
		r.Reset()
		if got, _ := responseVerdict(&r, in, request, limits, i, len(in)); got != whole {
			t.Fatalf("%q\nsplit at %d: %s\nwhole: %s", in, i, got, whole)
		}
	}
	r.Reset()
	if got, _ := responseVerdict(&r, in, request, limits, single...); got != whole {
		t.Fatalf("%q\nbyte by byte: %s\nwhole: %s", in, got, whole)
	}
	return whole, err
}

func TestResponse(t *testing.T) {
	const length, chunked = "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"
	tests := []struct {
		request  Method
		in, want string
	}{
		{GET, "HTTP/1.1 200 OK\r\n" + length, `200 1.1 "OK" length=5 body 3:Content-Length=5`},
		{GET, "HTTP/1.1 200 OK\r\n" + chunked, `200 1.1 "OK" length=-1 chunked body 4:Transfer-Encoding=chunked`},
		{GET, "HTTP/1.1 200 \r\n", `200 1.1 "" length=-1 until body close`},
		{GET, "HTTP/1.1 200\r\n", `200 1.1 "" length=-1 until body close`},
		{GET, "HTTP/1.0 404 Not \tthere, \xff\r\n", `404 1.0 "Not \tthere, \xff" length=-1 until body close`},
		{
			POST, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + length,
			`200 1.0 "OK" length=5 body 2:Connection=keep-alive 3:Content-Length=5`,
		},
		{
			POST, "HTTP/1.3 299 OK\r\nConnection: close\r\nContent-Length: 0\r\n",
			`299 1.1 "OK" length=0 close 2:Connection=close 3:Content-Length=0`,
		},
		{HEAD, "HTTP/1.1 200 OK\r\n" + length, `200 1.1 "OK" length=5 3:Content-Length=5`},
		{HEAD, "HTTP/1.1 200 OK\r\n" + chunked, `200 1.1 "OK" length=-1 chunked 4:Transfer-Encoding=chunked`},
		{HEAD, "HTTP/1.1 200 OK\r\n", `200 1.1 "OK" length=-1`},
		{GET, "HTTP/1.1 304 Not Modified\r\n" + length, `304 1.1 "Not Modified" length=5 3:Content-Length=5`},
		{
			GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n",
			`204 1.1 "No Content" length=0 3:Content-Length=0`,
		},
		{GET, "HTTP/1.1 100 Continue\r\n", `100 1.1 "Continue" length=-1`},
		{GET, "HTTP/1.1 101 Go\r\n", `101 1.1 "Go" length=-1 switched close`},
		{CONNECT, "HTTP/1.1 200 OK\r\n" + length, `200 1.1 "OK" length=5 switched close 3:Content-Length=5`},
		{CONNECT, "HTTP/1.1 403 No\r\n" + length, `403 1.1 "No" length=5 body 3:Content-Length=5`},
	}
	for _, test := range tests {
		got, err := checkResponse(t, test.in+"\r\n", test.request, nil)
		if got != test.want || err != nil {
			t.Errorf("%v %q\ngot  %s\nwant %s", test.request, test.in, got, test.want)
		}
	}
}

func TestResponseRefuse(t *testing.T) {
	tests := []struct {
		in   string
		want *Error
	}{
		{"SSH-2.0-x", ErrStatusLine},
		{"\r\nHTTP/1.1 200 OK\r\n\r\n", ErrStatusLine},
		{"http/1.1 200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/2.0 200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1 200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", ErrStatus},
		{"HTTP/1.1\t200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1 20 OK\r\n\r\n", ErrStatus},
		{"HTTP/1.1 2000 OK\r\n\r\n", ErrStatus},
		{"HTTP/1.1 +20 OK\r\n\r\n", ErrStatus},
		{"HTTP/1.1 099 OK\r\n\r\n", ErrStatus},
		{"HTTP/1.1 200\tOK\r\n\r\n", ErrStatus},
		{"HTTP/1.1\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1 \r\n\r\n", ErrStatus},
		{"HTTP/1.1 200 OK\n\n", ErrLineEnd},
		{"HTTP/1.1 200\n\n", ErrLineEnd},
		{"HTTP/1.1 200 O\rK\r\n\r\n", ErrLineEnd},
		{"HTTP/1.1 200 O\x00K\r\n\r\n", ErrFieldValue},
		{"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", ErrFold},
		{"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", ErrFieldName},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLengthAndCoded},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", ErrLengthRepeated},
		{"HTTP/1.1 304 OK\r\nContent-Length: -5\r\n\r\n", ErrLength},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ErrCoding},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ErrCodingUnknown},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ErrCodingVersion},
		{"HTTP/1.1 200 OK\r\nConnection: (\r\n\r\n", ErrConnection},
		{"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ErrNoBody},
		{"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n", ErrNoBody},
		{"HTTP/1.1 103 OK\r\nContent-Length: 5\r\n\r\n", ErrNoBody},
		{"HTTP/1.1 200 " + strings.Repeat("x", 300), ErrHeadSize},
		{"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 300), ErrHeadSize},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 21), ErrFieldCount},
	}
	for _, test := range tests {
		limits := Limits{HeadBytes: 256, Fields: 20}
		if got, err := checkResponse(t, test.in, GET, &limits); err != error(test.want) {
			t.Errorf("%q\ngot %s\nwant %s", test.in, got, test.want)
		}
	}
}

func TestResponseAccess(t *testing.T) {
	in := []byte("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Own: b\r\nset-cookie: c\r\n" +
		"Connection: x-own,\r\nConnection: close , Y\r\n\r\nrest")
	var r Response
	n, err := r.Parse(in, GET, nil)
	if n != len(in)-len("rest") || err != nil || len(r.Head()) != n {
		t.Fatal(n, err)
	}
	if v, ok := r.Field(SetCookie); string(v) != "a" || !ok || !r.Repeated(SetCookie) {
		t.Errorf("%q %v", v, ok)
	}
	if v, ok := r.Lookup("x-OWN"); string(v) != "b" || !ok {
		t.Errorf("%q %v", v, ok)
	}
	named := map[string]bool{"X-Own": true, "y": true, "Close": true, "Set-Cookie": false, "": false, "X": false}
	for name, want := range named {
		if r.ConnectionNames([]byte(name)) != want {
			t.Errorf("%q named: want %v", name, want)
		}
	}
	var request Request
	if _, err := request.Parse([]byte(smallHead), nil); err != nil || request.ConnectionNames([]byte("a")) {
		t.Error("named without a Connection field")
	}
}

func TestResponseBody(t *testing.T) {
	tests := []struct {
		request              Method
		fields, content, end string
	}{
		{GET, "Content-Length: 3\r\n", "3\r\n", "done"},
		{HEAD, "Content-Length: 3\r\n", "", "done"},
		{GET, "Transfer-Encoding: chunked\r\n", "abc", "done"},
		{GET, "", "3\r\nabc\r\n0\r\n\r\n", "incomplete"},
	}
	for _, test := range tests {
		in := "HTTP/1.1 200 OK\r\n" + test.fields + "\r\n3\r\nabc\r\n0\r\n\r\n"
		var r Response
		n, err := r.Parse([]byte(in), test.request, nil)
		if err != nil {
			t.Fatal(err)
		}
		var d BodyDecoder
		d.StartResponse(&r)
		if content, _, outcome := decode(&d, in[n:], len(in)-n); content != test.content || outcome != test.end {
			t.Errorf("%+v: %q, %s", test, content, outcome)
		}
	}
}

// FuzzResponse checks that the verdict does not depend on the cut, and that net/http reads what is accepted and finds
// the same status, framing and fate of the connection. It may refuse a Trailer field that announces what must not be
// a trailer.
func FuzzResponse(f *testing.F) {
	for _, in := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\nTrailer: Digest\r\n" +
			"Connection: a, close\r\n\r\n0\r\n\r\n", "HTTP/1.1 101 \t\xff\r\nUpgrade: x\r\n\r\n",
	} {
		for _, method := range []Method{GET, HEAD, CONNECT} {
			f.Add([]byte(in), uint8(method), uint8(0))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, method, headBytes uint8) {
		request := Method(method) % methods
		if len(in) > 512 {
			return // cut at every point, longer inputs only take longer
		}
		limits := Limits{HeadBytes: int(headBytes) * 2}
		checkResponse(t, string(in), request, &limits)
		var r Response
		n, err := r.Parse(in, request, nil)
		if n == 0 || err != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: request.String()})
		if err != nil {
			if _, announced := r.Field(Trailer); announced && r.Chunked && strings.Contains(err.Error(), "bad trailer key") {
				return
			}
			t.Fatalf("%q: net/http: %v", in[:n], err)
		}
		if theirs.StatusCode != r.Status || theirs.ProtoAtLeast(1, 1) != (r.Minor == 1) {
			t.Errorf("%s %d", theirs.Proto, theirs.StatusCode)
		}
		chunked := len(theirs.TransferEncoding) == 1
		if r.HasBody() && (chunked != r.Chunked || !chunked && theirs.ContentLength != r.ContentLength) {
			t.Errorf("length %d, coding %q; here %d, %v", theirs.ContentLength, theirs.TransferEncoding,
				r.ContentLength, r.Chunked)
		}
		if !r.HasBody() && !r.Switched && theirs.Body != http.NoBody && request != HEAD {
			t.Errorf("a body, here none")
		}
		if theirs.Close && !r.Close {
			t.Errorf("close, here not")
		}
	})
}

// TestResponseReuse parses an interim head, the final one behind it, and a refusal that stays until Reset.
func TestResponseReuse(t *testing.T) {
	in := []byte("HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: b\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	var r Response
	n, err := r.Parse(in, GET, nil)
	if err != nil || r.Status != 103 || r.Close || r.ConnectionNames([]byte("link")) {
		t.Fatal(n, err, r.Status)
	}
	if n, err = r.Parse(in[n:], GET, nil); err != nil || r.Status != 200 || r.Fields() != 1 || n == 0 {
		t.Fatal(n, err, r.Status)
	}
	limits := Limits{HeadBytes: 20}
	long := []byte("HTTP/1.1 200 A long reason\r\n\r\n")
	for range 2 {
		if _, err = r.Parse(long, GET, &limits); err != error(ErrHeadSize) {
			t.Fatal(err)
		}
	}
	if r.Reset(); r.Head() != nil {
		t.Error("Reset keeps the bytes")
	}
	if n, err = r.Parse(long, GET, nil); n != len(long) || err != nil || string(r.Reason()) != "A long reason" {
		t.Fatal(n, err)
	}
}
