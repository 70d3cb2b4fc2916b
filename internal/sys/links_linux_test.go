package sys

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUnlinked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, step := range []struct {
		what string
		do   func() error
		want bool
	}{
		{"made", func() error { return nil }, false},
		{"renamed", func() error { return os.Rename(name, name+"2") }, false},
		{"linked", func() error { return os.Link(name+"2", name) }, false},
		{"one name less", func() error { return os.Remove(name) }, false},
		{"no name", func() error { return os.Remove(name + "2") }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if got := Unlinked(info); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
}
