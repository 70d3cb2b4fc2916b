package static

import (
	"strings"
	"testing"
)

// TestHidden asks for names that begin with a dot: they are not there, but for what is well known.
func TestHidden(t *testing.T) {
	root := site(t, map[string]string{
		".env": "secret", ".git/config": "secret", "a/.b/c": "secret", "x.y": "open",
		".well-known/acme-challenge/token": "open", ".well-known/.env": "secret", "a/.well-known/z": "secret",
	})
	for _, hidden := range []bool{false, true} {
		h, _ := handler(t, Options{Root: root, Hidden: hidden})
		for target, always := range map[string]bool{
			"/x.y": true, "/.well-known/acme-challenge/token": true,
			"/.env": false, "/.git/config": false, "/a/.b/c": false, "/.well-known/.env": false, "/a/.well-known/z": false,
			"/%2eenv": false, "/.well-known%2f.env": false,
		} {
			want := "404"
			if always || hidden {
				want = "200"
			}
			if target == "/.well-known%2f.env" {
				want = "404" // no file has a slash in its name
			}
			if got := ask(t, h, "GET", target).Status; !strings.HasPrefix(got, want) {
				t.Errorf("%s with hidden %v: %s, want %s", target, hidden, got, want)
			}
		}
	}
}
