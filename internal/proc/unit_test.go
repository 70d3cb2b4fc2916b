package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnitFiles has systemd read the units that are shipped. The binary's place is that of a program that is there.
func TestUnitFiles(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: apt-get install systemd")
	}
	command, folder := exec.Command(tool, "verify"), t.TempDir()
	for _, name := range []string{"myriad.service", "myriad.socket"} {
		text, err := os.ReadFile("../../examples/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, name)
		unit := strings.ReplaceAll(string(text), "/usr/local/bin/myriad", "/bin/true")
		if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		command.Args = append(command.Args, file)
	}
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd says %v: %s", err, out)
	}
}
