package static

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/web/webtest"
)

// TestAgainstNetHTTP gives generated conditional and range requests to this package and to http.ServeContent. Where
// the two differ on purpose the generator does not go: Range with HEAD, which RFC 9110 section 14.2 has ignored, units
// other than bytes, which it has ignored too, and ranges of no bytes. MYRIAD_SEED replays a failure.
func TestAgainstNetHTTP(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("MYRIAD_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{1, 10, 5000, 40_000} {
		body := content(n)
		h, _ := handler(t, Options{Root: site(t, map[string]string{"f.txt": body})})
		etag := ask(t, h, "GET", "/f.txt").Header.Get("ETag")
		reference := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "f.txt", modified, strings.NewReader(body))
		})
		for range 800 {
			method, fields := conditions(random, etag, n)
			request := method + " /f.txt HTTP/1.1\r\nHost: a\r\n" + strings.Join(fields, "") + "\r\n"
			got, err := webtest.Ask(h, request)
			if err != nil {
				t.Fatalf("seed %d: %q: %v", seed, request, err)
			}
			want := expected(t, reference, method, request)
			if difference := compare(got, want); difference != "" {
				t.Fatalf("seed %d, %d bytes:\n%s%s", seed, n, request, difference)
			}
		}
	}
}

// conditions makes a request: a method, and fields with their line ends.
func conditions(random *rand.Rand, etag string, size int) (method string, fields []string) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	at := func() string {
		d := pick("-1h", "-1s", "0s", "1s", "1h")
		shift := map[string]int{"-1h": -3600, "-1s": -1, "0s": 0, "1s": 1, "1h": 3600}[d]
		when := modified.Truncate(time.Second).Add(time.Duration(shift) * time.Second)
		return pick(when.Format(http.TimeFormat), when.Format(http.TimeFormat), when.Format("Mon Jan _2 15:04:05 2006"),
			"not a date")
	}
	tags := func() string {
		tag := func() string { return pick(etag, "W/"+etag, `"other"`, `W/"other"`, `""`, `"a,b"`) }
		return pick(tag(), tag()+", "+tag(), tag()+","+tag()+" , "+tag(), "*", `"open`, "bare")
	}
	add := func(likely float64, name string, value func() string) {
		if random.Float64() < likely {
			fields = append(fields, name+": "+value()+"\r\n")
		}
	}
	method = pick("GET", "GET", "GET", "HEAD")
	add(0.15, "If-Match", tags)
	add(0.15, "If-None-Match", tags)
	add(0.15, "If-Modified-Since", at)
	add(0.15, "If-Unmodified-Since", at)
	if method == "GET" {
		add(0.7, "Range", func() string { return ranges(random, size) })
		add(0.2, "If-Range", func() string { return pick(etag, "W/"+etag, `"other"`, at()) })
	}
	return method, fields
}

// ranges makes a Range value, sound or not.
func ranges(random *rand.Rand, size int) string {
	number := func() int {
		return []int{random.IntN(size + 1), random.IntN(2*size + 2), size, size - 1, 0}[random.IntN(5)]
	}
	var specs []string
	for range 1 + random.IntN(4) {
		switch random.IntN(12) {
		case 0:
			specs = append(specs, "")
		case 1:
			specs = append(specs, []string{"a-b", "-", "1", "0-b", "--1", "0-4-3"}[random.IntN(6)])
		case 2, 3:
			specs = append(specs, "-"+fmt.Sprint(1+random.IntN(2*size)))
		case 4, 5:
			specs = append(specs, fmt.Sprint(number(), "-"))
		default:
			from, to := number(), number()
			if from >= size && to < from {
				from, to = to, from // the reference does not look at the end of a range that begins beyond
			}
			specs = append(specs, fmt.Sprintf("%d-%d", from, to))
		}
	}
	return "bytes=" + strings.Join(specs, []string{",", ", ", " ,"}[random.IntN(3)])
}

// expected asks the reference.
func expected(t *testing.T, h http.Handler, method, request string) webtest.Answer {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	response := recorder.Result()
	body, _ := io.ReadAll(response.Body)
	if method == "HEAD" {
		body = nil
	}
	return webtest.Answer{Response: response, Body: string(body)}
}

// compare says in what two answers differ, or nothing.
func compare(got, want webtest.Answer) string {
	if got.StatusCode != want.StatusCode {
		return fmt.Sprintf("%d, not %d", got.StatusCode, want.StatusCode)
	}
	names := []string{"Content-Range", "ETag", "Last-Modified", "Accept-Ranges"}
	switch {
	case got.StatusCode == 416 && want.Header.Get("Content-Range") == "",
		got.StatusCode == 304, got.StatusCode == 412:
		names = names[:0] // ours has more or fewer, and may
	case got.StatusCode == 416:
		names = names[:1]
	}
	for _, name := range names {
		if g, w := got.Header.Get(name), want.Header.Get(name); g != w {
			return fmt.Sprintf("%s: %q, not %q", name, g, w)
		}
	}
	if got.StatusCode != 200 && got.StatusCode != 206 {
		return ""
	}
	g, w := parts(got), parts(want)
	if g != w {
		return fmt.Sprintf("content %q, not %q", g, w)
	}
	return ""
}

// parts is the content in a form that does not depend on a boundary.
func parts(a webtest.Answer) string {
	kind, parameters, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if kind != "multipart/byteranges" {
		return kind + "\n" + a.Body
	}
	var b bytes.Buffer
	r := multipart.NewReader(strings.NewReader(a.Body), parameters["boundary"])
	for {
		p, err := r.NextPart()
		if err != nil {
			fmt.Fprintln(&b, err)
			return b.String()
		}
		content, err := io.ReadAll(p)
		fmt.Fprintln(&b, p.Header.Get("Content-Type"), p.Header.Get("Content-Range"), string(content), err)
	}
}
