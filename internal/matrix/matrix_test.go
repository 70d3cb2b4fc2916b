package matrix

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/serve/servetest"
)

// TestMatrix runs both suites in every column. The names of its subtests are those of the table: column, suite, row.
func TestMatrix(t *testing.T) {
	record := &transcripts{}
	for _, c := range Columns() {
		t.Run(c.Name, func(t *testing.T) {
			switch {
			case c.Hole != "":
				t.Skip(c.Hole)
			case (raced || testing.Short()) && !c.Short:
				t.Skip("not a column of the short run")
			}
			if c.Driver.Probe != nil {
				if s := c.Driver.Probe(); !s.OK {
					t.Skipf("%s does not work here: %s; %s", c.Driver.Name, s.Why, s.Fix)
				}
			}
			if c.Processes == "" {
				t.Run("model", func(t *testing.T) { c.model().Run(t) })
			}
			t.Run("http", func(t *testing.T) { (&suite{column: c, transcripts: record}).run(t) })
		})
	}
}

// model is the suite of package servetest for the column. Its sites have few workers, so that it can keep all at work.
func (c *Column) model() servetest.Suite {
	site := servetest.Site()
	site.Driver, site.Options, site.Accept = c.Driver, c.Options, c.Accept
	site.Options.Sweep = time.Millisecond
	return servetest.Suite{Model: c.Model, Site: site, AtOnce: min(c.AtOnce, site.Limits.Workers)}
}

// A suite asks whole servers, in one column.
type suite struct {
	column      Column
	folder      string
	transcripts *transcripts
}

// A behaviour is a row of the table.
type behaviour struct {
	name string
	// check fails t unless the servers of s behave.
	check func(t *testing.T, s *suite)
	// crowd says that it needs two connections to be served at the same time.
	crowd bool
}

// behaviours in the order of the table.
var behaviours = [][]behaviour{
	identity, messages, refusals, bodies, files, partial, times, peers, ends, listeners,
}

// identity is what makes all the other rows worth something.
var identity = []behaviour{
	{name: "the server is what the column says", check: isTheColumn},
	{name: "the same bytes in every column", check: sameBytes},
}

func (s *suite) run(t *testing.T) {
	s.folder = t.TempDir()
	s.fill(t)
	// The runtime's poller keeps descriptors from its first use on.
	warm, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = warm.Close()
	for _, group := range behaviours {
		for _, b := range group {
			t.Run(b.name, func(t *testing.T) {
				if b.crowd && s.column.AtOnce == 1 {
					t.Skipf("the %s model serves one connection at a time", s.column.Model.Name())
				}
				b.check(t, s)
			})
		}
	}
}

// isTheColumn asks the server what it is.
func isTheColumn(t *testing.T, s *suite) {
	v := s.start(t)
	c := v.dial()
	var says struct {
		Driver, Model, Accept string
		Capacity              struct {
			Direct bool `json:"direct_descriptors"`
		}
	}
	decode(t, c.get("/status").want(200).body, &says)
	driver := s.column.Driver.Name
	if driver == "" {
		driver = s.column.Model.Driver()
	}
	if says.Driver != driver || says.Model != s.column.Model.Name() {
		t.Errorf("the server is %+v", says)
	}
	if s.column.Driver.Name != "" && says.Accept != s.column.Accept.String() {
		t.Errorf("the server accepts by %s", says.Accept)
	}
	if says.Capacity.Direct != s.column.Options.Direct {
		t.Errorf("direct descriptors: %v", says.Capacity.Direct)
	}
}

// Content by its length, as large as the files.
const (
	smallBytes = 1 << 10
	mediumSize = 64 << 10
	largeBytes = 4 << 20
)

// modified is when the files were last changed.
var modified = time.Date(2024, time.February, 29, 12, 34, 56, 0, time.UTC)

// fill makes the folder that is served.
func (s *suite) fill(t *testing.T) {
	t.Helper()
	s.write(t, "small.txt", content(1, smallBytes))
	s.write(t, "medium.bin", content(2, mediumSize))
	s.write(t, "large.bin", content(3, largeBytes))
	s.write(t, "empty.txt", nil)
	s.write(t, ".hidden", []byte("hidden"))
	s.write(t, "index.html", []byte("<p>root"))
	s.write(t, "folder/index.html", []byte("<p>folder"))
	s.write(t, "bare/file.txt", []byte("in a folder without an index"))
	s.write(t, "with space.txt", []byte("a name to be escaped"))
	s.write(t, "page.css", []byte("body { color: black }"))
	s.write(t, "page.css.gz", []byte("in truth gzip"))
	s.write(t, "page.css.br", []byte("in truth brotli"))
	outside := filepath.Join(t.TempDir(), "outside.txt")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(s.folder, "out.txt")); err != nil {
		t.Fatal(err)
	}
}

// write puts a file into the folder, in one step.
func (s *suite) write(t *testing.T, name string, body []byte) {
	t.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path+"~", modified, modified); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// content is n bytes that depend on their place and on what they belong to.
func content(of byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i^i>>8*31^i>>16*17) + of
	}
	return b
}

// routes is the configuration of what is served.
func (s *suite) routes() string {
	return fmt.Sprintf(`routes=[
		{path: /status, status: {}},
		{path: /hello, respond: {body: hello}},
		{path: /made, respond: {status: 201, body: made, type: a/b, headers: {X-One: "1"}}, headers: {X-Two: "2"}},
		{path: /nothing, respond: {status: 204}},
		{path: /away, redirect: {to: "/hello?from=away", status: 302}},
		{path: /posted, methods: [POST, PUT], respond: {body: posted}},
		{host: other.test, respond: {body: other}},
		{prefix: /, files: {root: %q, cache: {valid: 1ms}}}]`, s.folder)
}

// lines is a text of lines that end as in HTTP.
func lines(text ...string) string { return strings.Join(text, "\r\n") + "\r\n" }

// decode reads JSON.
func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}
