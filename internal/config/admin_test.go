package config

import (
	"strings"
	"testing"
)

func TestAdminAddress(t *testing.T) {
	for _, test := range []struct{ text, wrong string }{
		{"auto", ""},
		{"off", ""},
		{"unix:/run/myriad/admin.sock", ""},
		{"127.0.0.1:9090", ""},
		{"[::1]:0", ""},
		{":9090", "can be reached from other machines"},
		{"0.0.0.0:9090", "can be reached from other machines"},
		{"192.0.2.1:9090", "come to it through ssh"},
		{"udp://127.0.0.1:9090", "not spoken over udp"},
		{"unix:@admin", "every user of the machine"},
		{"unix:", "no name"},
		{"sometimes", "is not an address"},
		{"", "is not an address"},
	} {
		var a AutoOrOffOrAddress
		err := a.UnmarshalText([]byte(test.text))
		switch {
		case test.wrong == "" && (err != nil || a.String() != test.text):
			t.Errorf("%q is read as %q, %v", test.text, a, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%q is refused with %v, want %q", test.text, err, test.wrong)
		}
	}
	if zero := (AutoOrOffOrAddress{}); !zero.Auto() || zero.String() != "auto" {
		t.Errorf("the zero value is %q", zero)
	}
}
