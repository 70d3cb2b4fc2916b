package load

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/myriad-server/myriad/internal/config"
)

const streamScenario = `
target: tcp://127.0.0.1:1234
pattern: pingpong
bytes: 11
answer-bytes: 12
`

// TestStreamScenario reads the keys that are for streams and datagrams.
func TestStreamScenario(t *testing.T) {
	s, err := parseScenario("b.yaml", streamScenario)
	if err != nil {
		t.Fatal(err)
	}
	p, err := PlanOf(t.Context(), Settings{}, s)
	if r := p.Request; err != nil || r.Pattern != PingPong || r.Bytes != 11 || r.AnswerBytes != 12 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestScenario reads a file with every other key, and looks that none is missing in both.
func TestScenario(t *testing.T) {
	text := `
target: http://127.0.0.1:1234/a?b
connections: 10
requests: 7
warmup: 1s
ramp: 2s
threads: 2
stages: [ "100-200/10s", 50/1m ]
arrivals: poisson
backlog: 77
pipeline: 3
per-connection: 9
reset: true
timeout: 3s
idle: 4
touch: false
slow: 5
slow-read: 6
slow-write: 8
method: PUT
headers: [ "A: b", "C: d, e" ]
body: "x"
expect-status: 201
expect-body: "y"
sources: [ 127.0.9.0/30, 127.1.1.1 ]
driver: epoll
seed: 13
pid: ` + strconv.Itoa(os.Getpid()) + "\n"
	s, err := parseScenario("a.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := PlanOf(t.Context(), Settings{}, s)
	if err != nil {
		t.Fatal(err)
	}
	stages := []Stage{{100, 200, 10 * time.Second}, {50, 50, time.Minute}}
	if diff := cmp.Diff(stages, p.Stages); diff != "" {
		t.Error(diff)
	}
	want := Request{
		Method: "PUT", Headers: []string{"A: b", "C: d, e"}, Body: []byte("x"), Status: 201, Expect: []byte("y"),
		Pattern: Echo, Bytes: 64,
	}
	if diff := cmp.Diff(want, p.Request); diff != "" {
		t.Error(diff)
	}
	if p.Connections != 10 || p.Requests != 7 || p.WarmUp != time.Second || p.RampUp != 2*time.Second ||
		p.Threads != 2 || p.Arrivals != Poisson || p.Backlog != 77 || p.Pipeline != 3 || p.PerConnect != 9 ||
		!p.Reset || p.Timeout != 3*time.Second || p.Idle != 4 || p.Touch || p.Driver != "epoll" || p.Seed != 13 ||
		p.PID != os.Getpid() || p.Duration != 69*time.Second || p.Slow != (Slow{5, 6, 8}) || len(p.Sources) != 5 {
		t.Errorf("%+v", p)
	}
	for i, kind := 0, reflect.TypeFor[Settings](); i < kind.NumField(); i++ {
		key := kind.Field(i).Tag.Get("yaml")
		said := strings.Contains(text+streamScenario, "\n"+key+":")
		if excludes := key == "rate" || key == "think" || key == "keep-alive" || key == "duration"; !said && !excludes {
			t.Errorf("the key %s is not tried", key)
		}
	}
}

// TestScenarioProblems checks the place and the text of what is wrong with a file.
func TestScenarioProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown", "target: tcp://127.0.0.1:1\nconection: 3\n", `a.yaml:2:1: there is no key "conection"`},
		{"type", "target: tcp://127.0.0.1:1\nconnections: many\n", "a.yaml:2:14: it must be a whole number"},
		{"time", "target: tcp://127.0.0.1:1\ntimeout: soon\n", "a.yaml:2:10: it must be a time such as 10s"},
		{"time without a unit", "target: tcp://127.0.0.1:1\nduration: 10\n", "a.yaml:2:11: it must be a time"},
		{"a list", "- a\n", "a.yaml:1:1: a scenario is keys with values"},
		{"no effect", "target: tcp://127.0.0.1:1\nmethod: GET\n", "a.yaml:2:9: method: it is for HTTP"},
		{"no HTTP", "target: http://127.0.0.1:1\nbytes: 9\n", "a.yaml:2:8: bytes: it is for targets"},
		{"closed", "target: tcp://127.0.0.1:1\narrivals: poisson\n", "a.yaml:2:11: arrivals: it is for an open loop"},
		{"rate", "target: tcp://127.0.0.1:1\nrate: 0\n", "a.yaml:2:7: rate: it is 0; it must be more than 0"},
		{"source", "target: tcp://127.0.0.1:1\nsources: [ 192.0.2.1 ]\n", "a.yaml:2:12: sources[0]: 192.0.2.1 is no address"},
		{"process", "target: tcp://127.0.0.1:1\npid: -5\n", "a.yaml:2:6: pid: there is no process -5"},
		{"twice", "target: tcp://127.0.0.1:1\nseed: 1\nseed: 2\n", "a.yaml:3:1: "},
		{"syntax", "target: [\n", "a.yaml:1:9: "},
		{"value", "target: tcp://127.0.0.1:1\npipeline: 0\n", "a.yaml:2:11: pipeline: it is 0; it must be 1 to 1024"},
		{"list", "target: http://127.0.0.1:1/\nheaders:\n  - \"A: b\"\n  - nothing\n", "a.yaml:4:5: headers[1]: "},
		{"stage", "target: tcp://127.0.0.1:1\nstages: [ 10/1s, 5 ]\n", "a.yaml:2:18: stages[1]: "},
		{"both", "target: tcp://127.0.0.1:1\nrate: 5\nstages: [ 10/1s ]\n", "a.yaml:2:7: rate: "},
		{"target", "target: ftp://x\n", "a.yaml:1:9: target: "},
		{"none", "connections: 1\n", "a.yaml: what is to be put under load is missing"},
		{"two documents", "target: tcp://127.0.0.1:1\n---\nseed: 1\n", "a.yaml: there is more than one document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := parseScenario("a.yaml", c.text)
			if err == nil {
				_, err = PlanOf(t.Context(), Settings{}, s)
			}
			var problems config.Problems
			if !errors.As(err, &problems) || len(problems) != 1 || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// TestFlagsWin has both say something, and blames the right one.
func TestFlagsWin(t *testing.T) {
	s, err := parseScenario("a.yaml", "target: tcp://127.0.0.1:1\nconnections: 3\npipeline: 2\n")
	if err != nil {
		t.Fatal(err)
	}
	n, bad := 5, -1
	p, err := PlanOf(t.Context(), Settings{Connections: &n}, s)
	if err != nil || p.Connections != 5 || p.Pipeline != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = PlanOf(t.Context(), Settings{PerSocket: &bad}, s)
	if err == nil || err.Error() != "--per-connection: it is negative" {
		t.Errorf("%v", err)
	}
	_, err = PlanOf(t.Context(), Settings{Pipeline: &bad}, s)
	if err == nil || !strings.HasPrefix(err.Error(), "--pipeline: it is -1;") {
		t.Errorf("%v", err)
	}
}

func TestReadScenario(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.yaml")
	if _, err := ReadScenario(name); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(name, []byte("target: unix:/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadScenario(name)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := PlanOf(t.Context(), Settings{}, s); err != nil || p.Target.Path != "/a" {
		t.Errorf("%+v, %v", p.Target, err)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		text string
		want Target
	}{
		{"http://127.0.0.1:8080", Target{Scheme: "http", Host: "127.0.0.1:8080", URI: "/"}},
		{"http://127.0.0.1/a?b=c", Target{Scheme: "http", Host: "127.0.0.1", URI: "/a?b=c"}},
		{"http://[::1]:81/", Target{Scheme: "http", Host: "[::1]:81", URI: "/"}},
		{"tcp://127.0.0.1:7", Target{Scheme: "tcp"}},
		{"udp://127.0.0.1:7", Target{Scheme: "udp"}},
		{"unix:/run/x", Target{Scheme: "unix", Path: "/run/x"}},
		{"unix:@abstract", Target{Scheme: "unix", Path: "@abstract"}},
		{"http+unix:/run/x:/a", Target{Scheme: "unix", Path: "/run/x", Host: "localhost", URI: "/a"}},
		{"http+unix:/run/x", Target{Scheme: "unix", Path: "/run/x", Host: "localhost", URI: "/"}},
	} {
		got, err := ParseTarget(t.Context(), c.text)
		if err != nil {
			t.Error(err)
		}
		c.want.Text, c.want.Address = c.text, got.Address
		if got != c.want || got.Address.IsValid() != (got.Path == "") {
			t.Errorf("%s is %+v", c.text, got)
		}
	}
	for _, text := range []string{
		"", "x", "127.0.0.1:80", "ftp://127.0.0.1:1", "https://127.0.0.1", "tcp://127.0.0.1", "tcp://127.0.0.1:0",
		"tcp://127.0.0.1:1/path", "unix:", "http://127.0.0.1:99999/", "http+unix:/run/x:y",
	} {
		if _, err := ParseTarget(t.Context(), text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
