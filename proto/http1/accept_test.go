package http1

import (
	"strings"
	"testing"
)

// acceptances are heads that must be accepted. want is the verdict's first line without the length of the head, fields
// are the lines behind it.
var acceptances = []struct {
	name, in, want, fields string
}{
	{
		"as load generators send it", smallHead,
		`GET "GET" origin-form 1.1 target="/" path="/" query="" authority="127.0.0.1:8080" ` +
			`host="127.0.0.1" port="8080" length=-1`,
		`1 "Host": "127.0.0.1:8080"`,
	},
	{
		"no whitespace, odd case, empty values", "put /a/b?c=d?e&/ HTTP/1.1\r\nhOsT:a\r\nEmpty:\r\nBlank: \t \r\n\r\n",
		` "put" origin-form 1.1 target="/a/b?c=d?e&/" path="/a/b" query="c=d?e&/" authority="a" host="a" port="" length=-1`,
		`1 "hOsT": "a"|0 "Empty": ""|0 "Blank": ""`,
	},
	{
		"whitespace around and within values", "GET /? HTTP/1.1\r\nHost: \t a:1\t \r\nX: b \t c\x80\xff \r\n\r\n",
		`GET "GET" origin-form 1.1 target="/?" path="/" query="" authority="a:1" host="a" port="1" length=-1`,
		`1 "Host": "a:1"|0 "X": "b \t c\x80\xff"`,
	},
	{
		"empty lines before", "\r\n\r\nHEAD /h HTTP/1.1\r\nHost:\r\n\r\n",
		`HEAD "HEAD" origin-form 1.1 target="/h" path="/h" query="" authority="" host="" port="" length=-1`,
		`1 "Host": ""`,
	},
	{
		"absolute-form rules over Host", "GET HTTP://b.example:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n",
		`GET "GET" absolute-form 1.1 target="HTTP://b.example:81/p?q" path="/p" query="q" authority="b.example:81" ` +
			`host="b.example" port="81" length=-1`,
		`1 "Host": "a"`,
	},
	{
		"absolute-form without path", "GET https://[::1]?q HTTP/1.1\r\nHost: a\r\n\r\n",
		`GET "GET" absolute-form 1.1 target="https://[::1]?q" path="/" query="q" authority="[::1]" ` +
			`host="[::1]" port="" length=-1`,
		`1 "Host": "a"`,
	},
	{
		"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a:\r\n\r\n",
		`OPTIONS "OPTIONS" asterisk-form 1.1 target="*" path="*" query="" authority="a:" host="a" port="" length=-1`,
		`1 "Host": "a:"`,
	},
	{
		"authority-form", "CONNECT a:443 HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
		`CONNECT "CONNECT" authority-form 1.1 target="a:443" path="" query="" authority="a:443" host="a" port="443" length=0`,
		`1 "Host": "b"|3 "Content-Length": "0"`,
	},
	{
		"HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n",
		`GET "GET" origin-form 1.0 target="/" path="/" query="" authority="" host="" port="" length=-1 close`, ``,
	},
	{
		"HTTP/1.0 kept alive",
		"POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 007\r\nExpect: 100-continue\r\n\r\n",
		`POST "POST" origin-form 1.0 target="/" path="/" query="" authority="" host="" port="" length=7`,
		`2 "Connection": "Keep-Alive"|3 "Content-Length": "007"|5 "Expect": "100-continue"`,
	},
	{
		"HTTP/1.7 is 1.1", "PATCH / HTTP/1.7\r\nHost: a\r\nTransfer-Encoding:\t Chunked \r\nExpect: 100-Continue\r\n\r\n",
		`PATCH "PATCH" origin-form 1.1 target="/" path="/" query="" authority="a" host="a" port="" length=-1 chunked expect`,
		`1 "Host": "a"|4 "Transfer-Encoding": "Chunked"|5 "Expect": "100-Continue"`,
	},
	{
		"close among options",
		"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: ,x,\tkeep-alive\r\nConnection: Upgrade , CLOSE,\r\n\r\n",
		`DELETE "DELETE" origin-form 1.1 target="/" path="/" query="" authority="a" host="a" port="" length=-1 close`,
		`1 "Host": "a"|2 "Connection": ",x,\tkeep-alive"|2 "Connection": "Upgrade , CLOSE,"`,
	},
	{
		"largest length", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\nExpect: teapot\r\n\r\n",
		`PUT "PUT" origin-form 1.1 target="/" path="/" query="" authority="a" host="a" port="" length=9223372036854775807`,
		`1 "Host": "a"|3 "Content-Length": "9223372036854775807"|5 "Expect": "teapot"`,
	},
}

func TestAccept(t *testing.T) {
	for _, test := range acceptances {
		t.Run(test.name, func(t *testing.T) {
			got, err := checkSplits(t, test.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, got, _ = strings.Cut(got, " ")
			line, fields, _ := strings.Cut(got, "\n")
			if line != test.want {
				t.Errorf("got  %s\nwant %s", line, test.want)
			}
			if fields = strings.ReplaceAll(strings.TrimSuffix(fields, "\n"), "\n", "|"); fields != test.fields {
				t.Errorf("got  %s\nwant %s", fields, test.fields)
			}
		})
	}
}

// TestPipelined parses several heads that lie in one buffer, with content between them.
func TestPipelined(t *testing.T) {
	in := []byte("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"\r\nGET /3 HTTP/1.0\r\n\r\nGET /4 HT")
	var r Request
	var got []string
	for {
		n, err := r.Parse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		got = append(got, string(r.Path()))
		in = in[n+int(max(r.ContentLength, 0)):]
	}
	if strings.Join(got, " ") != "/1 /2 /3" || string(in) != "GET /4 HT" {
		t.Errorf("parsed %q, left %q", got, in)
	}
}

func TestFieldAccess(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nhost: a\r\nX-Own: 1\r\nCOOKIE: b\r\nx-own: 2\r\nCookie: c\r\nUser-Agent: d\r\n" +
		"Hos\x54: e\r\n\r\n")
	var r Request
	if _, err := r.Parse(in, nil); err != error(ErrHostRepeated) {
		t.Fatalf("got %v", err)
	}
	if _, err := r.Parse(in[:10], nil); err != error(ErrHostRepeated) {
		t.Fatalf("the refusal does not stay: %v", err)
	}
	r.Reset()
	in = []byte(strings.Replace(string(in), "HosT: e", "Ghost: e", 1))
	if _, err := r.Parse(in, nil); err != nil {
		t.Fatal(err)
	}
	if v, ok := r.Field(Cookie); string(v) != "b" || !ok || !r.Repeated(Cookie) || r.Repeated(UserAgent) {
		t.Errorf("Cookie: %q %v", v, ok)
	}
	if v, ok := r.Field(Range); v != nil || ok {
		t.Errorf("Range: %q %v", v, ok)
	}
	if _, ok := r.Field(UnknownField); ok {
		t.Error("a field is known as unknown")
	}
	for name, want := range map[string]string{"x-OWN": "1", "Cookie": "b", "GHOST": "e", "cookies": "", "": ""} {
		if v, ok := r.Lookup(name); string(v) != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, v, ok)
		}
	}
	if r.Fields() != 7 || r.KnownAt(2) != Cookie || r.KnownAt(6) != UnknownField {
		t.Errorf("%d fields", r.Fields())
	}
}

// TestKnownNames finds every known name, in three spellings, with and without room behind it, and nothing that differs
// in one byte.
func TestKnownNames(t *testing.T) {
	for id := UnknownField + 1; id < knownFields; id++ {
		name := id.String()
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
			for _, behind := range []string{"", ":", ": value and more than eight bytes of it"} {
				if got := identify([]byte(spelling+behind), len(name)); got != id {
					t.Errorf("%q is %v, want %v", spelling+behind, got, id)
				}
			}
			for i := range len(spelling) {
				for bit := range 8 {
					b := []byte(spelling + ": value and more")
					b[i] ^= 1 << bit
					letter := spelling[i] != '-' && !isDigit(spelling[i])
					if got := identify(b, len(name)); (got == id) != (letter && bit == 5) {
						t.Errorf("%q is %v", b[:len(name)], got)
					}
				}
			}
		}
	}
	long := strings.Repeat("x", 99)
	if identifyName("") != UnknownField || identifyName("host") != Host || identifyName(long) != UnknownField {
		t.Error("identifyName")
	}
}

func TestLimits(t *testing.T) {
	head := "GET /56789 HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n" // 21 + 9 + 6 + 2 bytes
	long := "GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n"
	huge := strings.Repeat("x", 70_000)
	tests := []struct {
		name   string
		in     string
		limits Limits
		want   *Error
	}{
		{"head just fits", head, Limits{HeadBytes: len(head)}, nil},
		{"head one too long", head, Limits{HeadBytes: len(head) - 1}, ErrHeadSize},
		{"limit within field", head, Limits{HeadBytes: 32}, ErrHeadSize},
		{"limit behind line", head, Limits{HeadBytes: 30}, ErrHeadSize},
		{"limit behind request line", head, Limits{HeadBytes: 21}, ErrHeadSize},
		{"limit within request line", head, Limits{HeadBytes: 20}, ErrTargetSize},
		{"target just fits", head, Limits{TargetBytes: 6}, nil},
		{"target one too long", head, Limits{TargetBytes: 5}, ErrTargetSize},
		{"query counts", "GET /?3456 HTTP/1.1\r\nHost: a\r\n\r\n", Limits{TargetBytes: 5}, ErrTargetSize},
		{"fields just fit", head, Limits{Fields: 2}, nil},
		{"one field too many", head, Limits{Fields: 1}, ErrFieldCount},
		{"default target", long, Limits{}, ErrTargetSize},
		{"default target, endless", long[:8500], Limits{}, ErrTargetSize},
		{"larger target", long, Limits{TargetBytes: 9001}, nil},
		{"default head", "GET / HTTP/1.1\r\nA: " + strings.Repeat("x", 17000), Limits{}, ErrHeadSize},
		{"default fields", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 101), Limits{}, ErrFieldCount},
		{"huge name", "GET / HTTP/1.1\r\n" + huge + ": b\r\n\r\n", Limits{HeadBytes: 1 << 20}, ErrHeadSize},
		{"fault and too long", "GET / HTTP/1.1\r\nA\x01\r\n\r\n", Limits{HeadBytes: 18}, ErrHeadSize},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := checkSplits(t, test.in, &test.limits)
			if test.want == nil && err != nil || test.want != nil && err != error(test.want) {
				t.Errorf("got %s, want %v", got, test.want)
			}
		})
	}
}

// TestLinear feeds the largest heads that the limits allow one byte at a time. Scanned anew for every byte they would
// mean 2^37 bytes to look at, and this test would time out.
func TestLinear(t *testing.T) {
	limits := Limits{HeadBytes: 1 << 19, TargetBytes: 1 << 18, Fields: 1 << 16}
	rest := " HTTP/1.1\r\nHost: a\r\nLong: " + strings.Repeat("y",
		100_000) + "\r\n" + strings.Repeat("A: b\r\n", 20_000) + "\r\n"
	in := []byte("GET /" + strings.Repeat("x", 100_000) + rest)
	var r Request
	for i := 1; i < len(in); i++ {
		if n, err := r.Parse(in[:i], &limits); n != 0 || err != nil {
			t.Fatalf("after %d bytes: %d, %v", i, n, err)
		}
	}
	if n, err := r.Parse(in, &limits); n != len(in) || err != nil || r.Fields() != 20_002 {
		t.Fatal(n, err)
	}
}

func TestNoAllocation(t *testing.T) {
	var r Request
	in, bad := []byte(browserHead), []byte("GET /\r\n")
	allocations := testing.AllocsPerRun(100, func() {
		for _, length := range []int{1, 100, 600, len(in)} {
			if _, err := r.Parse(in[:length], nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Parse(bad, nil); err == nil {
			t.Fatal("accepted")
		}
		r.Reset()
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestNames(t *testing.T) {
	if Other.String() != "" || PATCH.String() != "PATCH" || Method(200).String() != "" {
		t.Error("Method")
	}
	if Form(9).String() != "" || KnownField(200).String() != "" || ETag.String() != "ETag" {
		t.Error("Form or KnownField")
	}
	if ErrHost.Error() != "http1: malformed host" || ErrHost.Status != 400 {
		t.Error("Error")
	}
}
