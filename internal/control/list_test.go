package control

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/observe"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/web/proxy"
)

// fake is a worker with so many connections, made up anew each time from their numbers.
type fake struct {
	worker, open int
	ended        map[uint64]bool
}

func (f *fake) record(i int) conn.Record {
	r := rand.New(rand.NewPCG(uint64(f.worker), uint64(i)))
	return conn.Record{
		ID: uint64(f.worker)<<56 | uint64(i)<<24, Worker: f.worker, State: conn.Open, Idle: r.IntN(10) > 0,
		Age: time.Duration(r.IntN(1000)) * time.Second, Quiet: time.Duration(r.IntN(100)) * time.Second,
		In: r.Uint64N(5000), Out: r.Uint64N(5000), Queued: r.Int64N(50), Requests: r.Uint32N(20),
	}
}

func (f *fake) List(_ context.Context, from uint32, dst []conn.Record, _ conn.Ask) (n int, next uint32, err error) {
	for i := int(from); i < f.open && n < len(dst); i++ {
		dst[n] = f.record(i)
		n++
	}
	if int(from)+n < f.open {
		next = from + uint32(n)
	}
	return n, next, nil
}

func (f *fake) Find(_ context.Context, ids []uint64, dst []conn.Record, _ conn.Ask, _ func(conn.Conn, int),
) (int, error) {
	for i, id := range ids {
		dst[i] = f.record(int(id >> 24 & 0xffffffff))
		dst[i].Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(id>>24))
	}
	return len(ids), nil
}

func (f *fake) End(id uint64, _ error) bool {
	if f.ended[id] || int(id>>56) != f.worker {
		return false
	}
	f.ended[id] = true
	return true
}

func (f *fake) Ended(context.Context) ([]conn.Record, error) { return nil, nil }

func fakes(workers, each int) *lister {
	l := &lister{
		listeners: []app.Listener{{Address: "http://a", Protocol: "http"}},
		about:     func(conn.Conn) app.About { return app.About{} },
	}
	for i := range workers {
		l.rosters = append(l.rosters, &fake{i, each, map[uint64]bool{}})
	}
	return l
}

// TestPages compares pages with what sorting everything gives, and puts them together again.
func TestPages(t *testing.T) {
	l := fakes(3, 1500)
	var all []conn.Record
	for _, of := range l.rosters {
		if err := visit(t.Context(), of, 0, func(r *conn.Record) { all = append(all, *r) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range orders {
		for _, descending := range []bool{false, true} {
			s := Selection{
				Sort: o.name, Descending: descending, Older: 100 * time.Second, States: []string{"idle"}, Limit: 700,
			}
			want := slices.DeleteFunc(slices.Clone(all), func(r conn.Record) bool { return r.Age < s.Older || !r.Idle })
			slices.SortFunc(want, func(a, b conn.Record) int {
				if s.before(&a, &b) {
					return -1
				}
				return 1
			})
			got := 0
			for s.Offset = 0; ; s.Offset += s.Limit {
				page, err := l.list(t.Context(), &s)
				if err != nil {
					t.Fatal(err)
				}
				if page.Open != len(all) || page.Matched != len(want) || page.States["idle"] != len(want) {
					t.Fatalf("by %s: %d open, %d matched; want %d, %d", o.name, page.Open, page.Matched, len(all), len(want))
				}
				for i, c := range page.Connections {
					if c.ID != fmt.Sprint(want[s.Offset+i].ID) {
						t.Fatalf("by %s: %s at place %d, want %d", o.name, c.ID, s.Offset+i, want[s.Offset+i].ID)
					}
				}
				if got += len(page.Connections); len(page.Connections) == 0 {
					break
				}
			}
			if got != len(want) {
				t.Errorf("by %s: %d in all pages, want %d", o.name, got, len(want))
			}
		}
	}
}

func TestEndOfMany(t *testing.T) {
	l := fakes(2, 1000)
	s := Selection{Sort: "id", States: []string{"active"}}
	dry, ended, err := l.end(t.Context(), &s, 10, true)
	if err != nil || ended != 0 || dry == 0 {
		t.Fatalf("a dry run: %d, %d, %v", dry, ended, err)
	}
	matched, ended, err := l.end(t.Context(), &s, 10, false)
	if err != nil || matched != dry || ended != 10 {
		t.Errorf("%d of %d ended, %v; want 10 of %d", ended, matched, err, dry)
	}
	_, ended, err = l.end(t.Context(), &s, 1<<30, false)
	if err != nil || ended != dry-10 {
		t.Errorf("%d ended, %v; want %d", ended, err, dry-10)
	}
}

// TestListMemory holds a listing of many to the memory of its page.
func TestListMemory(t *testing.T) {
	l := fakes(1, 100_000)
	s := Selection{Sort: "age", Descending: true, Limit: 100}
	before := testing.AllocsPerRun(2, func() {
		if _, err := l.list(t.Context(), &s); err != nil {
			t.Fatal(err)
		}
	})
	if before > 100_000+20_000 { // of which one each is the generator of the fake
		t.Errorf("a listing of 100,000 allocates %v times", before)
	}
}

// BenchmarkMillion lists the first page of a million that is made up: selecting and sorting, without the loops.
func BenchmarkMillion(b *testing.B) {
	l := fakes(2, 500_000)
	s := Selection{Sort: "age", Descending: true, Limit: 100}
	for b.Loop() {
		if _, err := l.list(b.Context(), &s); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCausesAreOneList holds the words of those who log to the list, and the document too.
func TestCausesAreOneList(t *testing.T) {
	has := func(of, word string) {
		t.Helper()
		if !slices.ContainsFunc(Causes, func(c Cause) bool { return c.Of == of && c.Code == Code(word) }) {
			t.Errorf("the cause %q of %s is not in the list", word, of)
		}
	}
	words := func(word func(i int) string) (all []string) {
		defer func() { _ = recover() }() // behind the last one
		for i := 0; ; i++ {
			all = append(all, word(i))
		}
	}
	sessions := words(func(i int) string { return stream.Cause(i).String() })
	answers := words(func(i int) string { return proxy.Cause(i).String() })
	if len(sessions) < 12 || len(answers) < 24 {
		t.Fatalf("%d and %d causes were found", len(sessions), len(answers))
	}
	for _, word := range append(sessions, proxy.TunnelCauses[1:]...) {
		has(ofSession, word)
	}
	for _, word := range answers[1:] {
		has(ofAnswer, word)
	}
	for _, code := range observe.EndCodes() {
		has(ofConnection, code)
	}
	for i, c := range Causes {
		if c.Meaning == "" || c.Look == "" || strings.ToLower(c.Code) != c.Code {
			t.Errorf("%+v is not complete", c)
		}
		if slices.ContainsFunc(Causes[:i], func(o Cause) bool { return o.Of == c.Of && o.Code == c.Code }) {
			t.Errorf("%s of %s is there twice", c.Code, c.Of)
		}
	}
}

// TestDocumentIsCurrent looks for everything there is in docs/admin.md.
func TestDocumentIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	has := func(part string) {
		t.Helper()
		if !strings.Contains(string(text), part) {
			t.Errorf("docs/admin.md does not have\n%s", part)
		}
	}
	for _, c := range Causes {
		has(fmt.Sprintf("| `%s` | %s | %s | %s |\n", c.Code, c.Of, c.Meaning, c.Look))
	}
	for _, r := range routes() {
		has(fmt.Sprintf("| `%s` | %s |", strings.TrimSuffix(r.pattern, "{$}"), r.about))
	}
	for _, name := range append(Orders(), parameters...) {
		has("`" + name + "`")
	}
}
