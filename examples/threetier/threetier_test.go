package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestModes runs every mode once as a user does and looks at what it cost: kept connections are few, others are one
// for each request.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	example, myriad := filepath.Join(dir, "threetier"), filepath.Join(dir, "myriad")
	for binary, from := range map[string]string{example: ".", myriad: "../../cmd/myriad"} {
		if out, err := exec.Command("go", "build", "-o", binary, from).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, c := range []struct {
		app, pool, keepalive string
		needs                string
	}{
		{"go", "true", "true", "redis-server"},
		{"go", "false", "true", "redis-server"},
		{"go", "true", "false", "redis-server"},
		{"flask", "true", "true", "gunicorn"},
		{"flask", "false", "false", "gunicorn"},
	} {
		t.Run(c.app+",pool="+c.pool+",keepalive="+c.keepalive, func(t *testing.T) {
			for _, name := range []string{"redis-server", c.needs} {
				if _, err := exec.LookPath(name); err != nil {
					t.Skipf("%s is not installed; scripts/needs names its package", name)
				}
			}
			listen, err := freeAddress()
			if err != nil {
				t.Fatal(err)
			}
			command := exec.Command(example, "-myriad", myriad, "-listen", listen, "-app", c.app, "-pool="+c.pool,
				"-keepalive="+c.keepalive, "-requests", "300", "-clients", "4")
			command.Stderr = os.Stderr
			out, err := command.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			values := map[string]string{}
			for line := range strings.Lines(string(out)) {
				if len(line) > 25 {
					values[strings.TrimSpace(line[:25])] = strings.TrimSpace(line[25:])
				}
			}
			if values["failed"] != "0" {
				t.Errorf("failed: %q\n%s", values["failed"], out)
			}
			if kept := few(values["TIME_WAIT, redis"]); kept != (c.pool == "true") {
				t.Errorf("%s connections to redis in TIME_WAIT with pool=%s", values["TIME_WAIT, redis"], c.pool)
			}
			if kept := few(values["TIME_WAIT, app"]); kept != (c.keepalive == "true") {
				t.Errorf("%s connections to the application in TIME_WAIT with keepalive=%s", values["TIME_WAIT, app"], c.keepalive)
			}
			if kept := few(values["connections to redis"]); kept != (c.pool == "true") {
				t.Errorf("%s connections to redis with pool=%s", values["connections to redis"], c.pool)
			}
		})
	}
}

// few tells kept connections from one for each of 300 requests. The kernel may have forgotten some of those again, and
// there is one that only asked whether the tier answers.
func few(number string) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n < 50
}
