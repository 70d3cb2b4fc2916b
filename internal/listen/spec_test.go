package listen

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ address, network, printed string }{
		{"127.0.0.1:8080", "tcp", "127.0.0.1:8080"},
		{"tcp://127.0.0.1:8080", "tcp", "127.0.0.1:8080"},
		{":80", "tcp", "[::]:80"},
		{"*:80", "tcp", "[::]:80"},
		{"[::]:80", "tcp", "[::]:80"},
		{"[::1]:0", "tcp", "[::1]:0"},
		{"[fe80::1%2]:80", "tcp", "[fe80::1%2]:80"},
		{"localhost:65535", "tcp", "127.0.0.1:65535"},
		{"udp://[::1]:53", "udp", "udp://[::1]:53"},
		{"unix:/run/a.sock", "unix", "unix:/run/a.sock"},
		{"unix:///run/a.sock", "unix", "unix:/run/a.sock"},
		{"unix:@name", "unix", "unix:@name"},
	} {
		s, err := Parse(c.address)
		if err != nil || s.Network != c.network || s.String() != c.printed {
			t.Errorf("Parse(%q) = %q on %q, %v; want %q on %q", c.address, s, s.Network, err, c.printed, c.network)
			continue
		}
		if again, err := Parse(s.String()); err != nil || again != s {
			t.Errorf("Parse(%q) = %v, %v; want %v", s.String(), again, err, s)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ address, says string }{
		{"", "no port"},
		{"8080", "no port"},
		{"127.0.0.1", "no port"},
		{"127.0.0.1:http", "not a number"},
		{"127.0.0.1:65536", "not a number"},
		{"127.0.0.1:-1", "not a number"},
		{"example.org:80", "names are not looked up"},
		{"::1:80", "brackets"},
		{"http://127.0.0.1:80", "no network"},
		{"unix:", "no name"},
		{"unix:@", "no name"},
	} {
		if s, err := Parse(c.address); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Parse(%q) = %v, %v; want an error with %q", c.address, s, err, c.says)
		} else if !strings.Contains(err.Error(), c.address) {
			t.Errorf("Parse(%q): the error %q does not name the address", c.address, err)
		}
	}
}
