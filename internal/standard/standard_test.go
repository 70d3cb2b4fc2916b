package standard

import (
	"slices"
	"strings"
	"testing"
)

func TestDriversAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	rank := int(^uint(0) >> 1)
	for _, f := range Drivers() {
		t.Run(f.Name, func(t *testing.T) {
			if f.Name == "" || f.What == "" || f.Probe == nil || f.Open == nil {
				t.Fatalf("a field is missing: %+v", f)
			}
			if seen[f.Name] || f.Name == Auto {
				t.Error("the name is taken")
			}
			if f.Rank > rank {
				t.Errorf("rank %d comes after rank %d", f.Rank, rank)
			}
			if strings.Contains(f.What, "\n") {
				t.Errorf("more than one line: %q", f.What)
			}
			if s := f.Probe(); !s.OK && (s.Why == "" || s.Fix == "") {
				t.Errorf("it does not work here, and the operator is told %q and %q", s.Why, s.Fix)
			}
			seen[f.Name], rank = true, f.Rank
		})
	}
	for _, name := range []string{"uring", "epoll", "poll", "rtsig", "select", "sweep"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestDriverByName(t *testing.T) {
	for _, f := range Drivers() {
		found, passed, err := Driver(f.Name)
		s := f.Probe()
		if s.OK != (err == nil) || len(passed) > 0 {
			t.Errorf("%s: the probe says %v, the choice %v, and passed over %v", f.Name, s, err, passed)
		}
		if err == nil && found.Name != f.Name {
			t.Errorf("%s was asked for, %s was found", f.Name, found.Name)
		}
		if err != nil && (!strings.Contains(err.Error(), s.Why) || !strings.Contains(err.Error(), s.Fix)) {
			t.Errorf("the error names neither cause nor mend: %v", err)
		}
	}
	_, _, err := Driver("kqueue")
	if err == nil || !strings.Contains(err.Error(), `"kqueue"`) || !strings.Contains(err.Error(), "auto, ") {
		t.Errorf("a driver that there is not: %v", err)
	}
}

func TestAutoTakesTheBestThatWorks(t *testing.T) {
	found, passed, err := Driver(Auto)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Drivers() {
		if f.Name == found.Name {
			break
		}
		if s := f.Probe(); s.OK {
			t.Errorf("%s works and is better than %s", f.Name, found.Name)
		}
		if !slices.ContainsFunc(passed, func(p Passed) bool { return p.Name == f.Name && p.Support.Why != "" }) {
			t.Errorf("%s was passed over without a word", f.Name)
		}
	}
}

func TestModels(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Models() {
		if seen[m.Name()] {
			t.Errorf("the name %s is taken", m.Name())
		}
		seen[m.Name()] = true
		if !slices.Contains([]string{"", "blocking", "runtime"}, m.Driver()) {
			t.Errorf("%s moves bytes by %q", m.Name(), m.Driver())
		}
		found, err := Model(m.Name())
		if err != nil || found.Name() != m.Name() {
			t.Errorf("%s is not found: %v", m.Name(), err)
		}
	}
	for _, name := range []string{"reactor", "goroutine", "workpool", "thread", "single"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if Models()[0].Name() != "reactor" {
		t.Errorf("the usual model is %s", Models()[0].Name())
	}
	if _, err := Model("fork"); err == nil || !strings.Contains(err.Error(), "reactor, ") {
		t.Errorf("a model that there is not: %v", err)
	}
}
