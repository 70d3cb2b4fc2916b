package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFixed finds what a reload cannot change, and nothing else.
func TestFixed(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		path := filepath.Join(t.TempDir(), "myriad.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := known.Load(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const listener = "listeners: [{address: \":80\"}]\n"
	was := load(listener + "routes: [{respond: {body: a}}]\n")
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":    {listener + "routes: [{respond: {body: a}}]\n", nil},
		"what may":   {listener + "routes: [{respond: {body: b}}]\ntimeouts: {idle: 7s}\nlimits: {body: 1KiB}\n", nil},
		"the engine": {listener + "engine: {blocks: 99, loops: 3}\n", []string{"engine.blocks", "engine.loops"}},
		"who sees":   {listener + "admin: off\nmetrics: false\n", []string{"admin", "metrics"}},
		"limits": {
			listener + "limits: {connections: 7, output_per_connection: 8KiB}\n",
			[]string{"limits.connections", "limits.output_per_connection"},
		},
	} {
		found := was.Fixed(load(c.text))
		var paths []string
		for _, p := range found {
			paths = append(paths, p.Path)
			if p.Line == 0 || p.Mend == "" {
				t.Errorf("%s: %+v does not say where, or what to do", name, p)
			}
		}
		if strings.Join(paths, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: found %v, want %v", name, paths, c.want)
		}
	}
}
