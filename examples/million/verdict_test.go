package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	good := func() *report {
		r := newReport(options{Connections: 100, Baseline: 10, Active: 2, Rounds: 1, Ratio: 1.1, Memory: 1 << 20}, machine{})
		all := census{107, 107, 107, 107}
		r.Held, r.Again, r.Asked, r.Answered, r.Stopped, r.Limit = all, all, 106, 106, "exit code 0", descriptors
		control, own := sample{PerRequest: 5, Late: 100}, sample{PerRequest: 5.4, Late: 105}
		r.Beside = map[string][]sample{groupControl: {control}, groupFirst: {own}, groupSpread: {own}, groupLast: {own}}
		r.Before = r.Beside
		return r
	}
	for name, spoil := range map[string]func(*report){
		"":                 func(*report) {},
		"held":             func(r *report) { r.Held.Client-- },
		"RLIMIT_NOFILE":    func(r *report) { r.Limit++ },
		"memory":           func(r *report) { r.Peak.Peak = 2 << 20 },
		"processor time":   func(r *report) { r.Beside[groupFirst][0].PerRequest = 5.6 },
		"p99":              func(r *report) { r.Beside[groupFirst][0].Late = 111 },
		"answered":         func(r *report) { r.Answered-- },
		"ended in order":   func(r *report) { r.Stopped = "exit code 1" },
		"the kernel":       func(r *report) { r.Settled = "orphans are left" },
		"connecting, with": func(r *report) { r.Options.Rate = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			spoil(r)
			r.judge()
			text, _, err := r.render()
			if err != nil {
				t.Fatal(err)
			}
			if r.Passed != (name == "") {
				t.Errorf("passed %t\n%s", r.Passed, text)
			}
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "FAIL") && (name == "" || !strings.Contains(line, name)) {
					t.Errorf("unexpected %s", fmt.Sprint(line))
				}
			}
		})
	}
}
