package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatTheMachineRefuses(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := listing(t, folder)
	for _, test := range []struct {
		name, line, want string // an empty want: nothing is wrong
	}{
		{"a socket", "listeners[0].address=unix:" + folder + "/a.sock", ""},
		{"an abstract socket", "listeners[0].address=unix:@gone/a", ""},
		{"a socket nowhere", "listeners[0].address=unix:" + folder + "/gone/a", "no such file or directory"},
		{"a socket in a file", "listeners[0].address=unix:" + file + "/a", "is no folder"},
		{"a socket over a file", "listeners[0].address=unix:" + file, "is no socket"},
		{"a log", "access_log={format: json, path: " + folder + "/a.log}", ""},
		{"a log that is there", "access_log={format: json, path: " + file + "}", ""},
		{"a log that is off", "access_log={format: 'off', path: " + folder + "/gone/a.log}", ""},
		{"a log nowhere", "access_log={format: json, path: " + folder + "/gone/a.log}", "no such file or directory"},
		{"a log in a file", "access_log={format: json, path: " + file + "/a.log}", "not a directory"},
		{"a folder as a log", "access_log={format: json, path: " + folder + "}", "is a folder"},
		{"congestion control", "listeners[0].congestion=reno", ""},
		{"unknown congestion control", "listeners[0].congestion=warp", `no congestion control "warp"`},
		{"no congestion control", "listeners[0].congestion=", "is no name of a congestion control"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := known.Load("", []Override{SetFlag(test.line)})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: the error is %v, want %q", test.line, err, test.want)
			}
		})
	}
	if after := listing(t, folder); after != before {
		t.Errorf("the folder held %s and holds %s", before, after)
	}
}

func listing(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return strings.Join(names, " ")
}
