package control

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestSweep removes what servers and supervisors that were killed have left, and nothing that anybody may still need.
func TestSweep(t *testing.T) {
	folder := t.TempDir()
	const dead, deader, elsewhere, draining = "999999991", "999999992", "999999993", "999999994" // above pid_max
	alive := strconv.Itoa(os.Getpid())
	for _, name := range []string{dead, deader, elsewhere, draining, alive, "other"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string, answers bool) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if l.SetUnlinkOnClose(answers); answers {
			t.Cleanup(func() { _ = l.Close() })
		} else if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	put(dead+".sock", false)
	put(dead+"/worker-0.sock", false)
	put(elsewhere+".sock", true)
	put(draining+"/worker-0.sock", true)
	put(draining+"/worker-1.sock", false)
	put(alive+".sock", false)
	put(alive+"/worker-0.sock", false)
	sweep(folder)
	for name, want := range map[string]bool{
		dead: false, dead + ".sock": false, deader: false, "other": true,
		elsewhere: true, elsewhere + ".sock": true,
		draining: true, draining + "/worker-0.sock": true, draining + "/worker-1.sock": false,
		alive: true, alive + ".sock": true, alive + "/worker-0.sock": true,
	} {
		if _, err := os.Lstat(filepath.Join(folder, name)); (err == nil) != want {
			t.Errorf("%s: %v; it is to stay: %t", name, err, want)
		}
	}
}
