package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoad reads any text: it never panics, it says a place for every problem, and what it takes can be written out and
// read again.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "timeouts.idle=15m")
	}
	f.Add("routes: [{status: {}}]", `routes[0].headers["a b"]=c`)
	f.Fuzz(func(t *testing.T, text, set string) {
		c, warnings, err := known.Parse("fuzz.yaml", text, nil)
		var problems Problems
		if errors.As(err, &problems); err != nil && len(problems) == 0 {
			t.Fatalf("an error without problems: %v", err)
		}
		for _, problem := range problems {
			if problem.Line < 1 || problem.Column < 1 || problem.File == "" || problem.Excerpt == "" ||
				problem.Message == "" {
				t.Errorf("a problem without a place: %#v", problem)
			}
		}
		for _, warning := range warnings {
			if warning.Error() == "" {
				t.Errorf("a warning without words: %#v", warning)
			}
		}
		if err != nil {
			return
		}
		whole, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := known.Parse("again.yaml", string(whole), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, whole)
		}
		if diff := cmp.Diff(c, again, sameConfig); diff != "" {
			t.Errorf("read again it changed:\n%s\n%s", diff, whole)
		}
		if err := Set(c, set); err != nil && !errors.As(err, &problems) {
			t.Errorf("--set %q: %v", set, err)
		}
	})
}
