package app

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/web/proxy"
)

func TestCausesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	for c := proxy.None + 1; c <= proxy.Unexpected; c++ {
		found := false
		for line := range strings.Lines(string(text)) {
			if cell, rest, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok &&
				strings.Contains(cell, "`"+c.String()+"`") {
				found = true
				// An answer that breaks off has no status, and some can come before it has begun as well as after.
				if !strings.HasPrefix(rest, fmt.Sprint(c.Status())) && !strings.HasPrefix(rest, "broken off") {
					t.Errorf("%v is documented otherwise than as %d: %s", c, c.Status(), line)
				}
			}
		}
		if !found {
			t.Errorf("%v is not in docs/proxy.md", c)
		}
	}
}
