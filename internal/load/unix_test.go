package load

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestUnixCensus counts connections to one of two Unix sockets, with a name in a folder and with one that is in none.
func TestUnixCensus(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), fmt.Sprintf("@census-%d", os.Getpid())} {
		for n, path := range []string{name, name + "-other"} {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			for range 3 - n {
				near, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				far, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _, _ = near.Close(), far.Close() }()
			}
		}
		for own, proven := range map[int]bool{2: false, 3: true, 4: false} {
			c := census(&Plan{Target: Target{Scheme: "unix", Path: name}}, own)
			if c.Client != 3 || c.Server != 3 || !c.SameSet || c.Proven != proven {
				t.Errorf("%s, %d by our account: %+v", name, own, c)
			}
		}
		if list := unixListeners(name); len(list) != 1 {
			t.Errorf("%s: %d listen", name, len(list))
		}
	}
}
