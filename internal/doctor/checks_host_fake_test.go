package doctor

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/myriad-server/myriad/internal/sys"
)

// A card as an archive describes it; what it leaves out the card has not got.
type fakeCard struct {
	Rings      *sys.Rings
	Channels   *sys.Channels
	Coalescing *sys.Coalescing
	Features   map[string]sys.Feature
	Qdiscs     []string
}

type fakeNetwork map[string]fakeCard

func told[T any](value *T) (T, error) {
	if value == nil {
		var none T
		return none, syscall.EOPNOTSUPP
	}
	return *value, nil
}

func (n fakeNetwork) Rings(link string) (sys.Rings, error) { return told(n[link].Rings) }

func (n fakeNetwork) Channels(link string) (sys.Channels, error) { return told(n[link].Channels) }

func (n fakeNetwork) Coalescing(link string) (sys.Coalescing, error) { return told(n[link].Coalescing) }

func (n fakeNetwork) Features(link string) (map[string]sys.Feature, error) {
	return n[link].Features, nil
}

func (n fakeNetwork) Qdiscs(link string) ([]string, error) { return n[link].Qdiscs, nil }

// An archive of testdata/hosts is a host in four states: base holds in all of them, sample is how counters are one
// second before, sick is what the check must find, and well is the same host after the fix. Its comment says which
// check it is for, how bad it is, and words that the finding must have.
type fakeState struct {
	check, harm string
	pid         int
	words       []string
	files       map[string]map[string]string
}

func readState(t *testing.T, name string) fakeState {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	state := fakeState{files: map[string]map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "check":
			state.check = value
		case "harm":
			state.harm = value
		case "process":
			state.pid = 7
		case "says":
			state.words = append(state.words, value)
		}
	}
	for _, f := range archive.Files {
		when, path, _ := strings.Cut(f.Name, "/")
		if !slices.Contains([]string{"base", "sample", "sick", "well"}, when) {
			t.Fatalf("%s: a file %s", name, f.Name)
		}
		if state.files[when] == nil {
			state.files[when] = map[string]string{}
		}
		state.files[when][path] = string(f.Data)
	}
	return state
}

// host is a fresh host in one of the states.
func (s *fakeState) host(t *testing.T, when string) *Host {
	t.Helper()
	now := time.Unix(1000, 0)
	h := fakeHost(t, s.files["base"])
	h.PID, h.Now = s.pid, func() time.Time { return now }
	root := filepath.Dir(h.Proc)
	if before := s.files["sample"]; before != nil {
		for name, text := range before {
			put(t, root, name, text)
		}
		h.Sample()
		now = now.Add(time.Second)
	}
	for name, text := range s.files[when] {
		put(t, root, name, text)
	}
	network := fakeNetwork{}
	for _, files := range []map[string]string{s.files["base"], s.files[when]} {
		if text := files["network.json"]; text != "" {
			if err := json.Unmarshal([]byte(text), &network); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.Network = network
	h.Refresh()
	return h
}

// TestChecksOnFakeHosts has checks look at trees of /proc and /sys that stand in for hardware that a test cannot count
// on, and for settings of the whole host that a test must not change.
func TestChecksOnFakeHosts(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("testdata", "hosts", "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatal(err, archives)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			state := readState(t, name)
			i := slices.IndexFunc(Checks(), func(c Check) bool { return c.Name == state.check })
			if i < 0 {
				t.Fatalf("no check %q", state.check)
			}
			check := Checks()[i]
			var harm Harm
			if err := harm.UnmarshalText([]byte(state.harm)); err != nil {
				t.Fatal(err)
			}
			onlyFinding(t, state.host(t, "sick"), check, harm, state.words...)
			isWell(t, state.host(t, "well"), check)
		})
	}
}
