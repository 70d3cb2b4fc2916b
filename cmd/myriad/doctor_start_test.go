package main

import (
	"testing"

	"github.com/myriad-server/myriad/internal/config"
)

func TestServesOwnHost(t *testing.T) {
	for _, test := range []struct {
		addresses []string
		own       bool
	}{
		{nil, true},
		{[]string{"127.0.0.1:80", "[::1]:80", "unix:/run/a.sock", "unix:@name", "udp://127.0.0.1:53"}, true},
		{[]string{":8080"}, false},
		{[]string{"127.0.0.1:80", "10.0.0.7:80"}, false},
		{[]string{"udp://:53"}, false},
	} {
		var c config.Config
		for _, address := range test.addresses {
			c.Listeners = append(c.Listeners, config.Listen(address))
		}
		if own := servesOwnHost(&c); own != test.own {
			t.Errorf("%v: %v", test.addresses, own)
		}
	}
}
