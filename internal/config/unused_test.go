package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestUnused says every key of the engine under every model and driver, and wants a warning for each that then means
// nothing, and for no other.
func TestUnused(t *testing.T) {
	values := map[string]string{
		"accept": "acceptor", "balance": "random", "workers": "7", "queue": "9", "direct": "always", "sweep": "5ms",
		"trigger": "level", "signal": "per_descriptor", "block": "32KiB", "blocks": "64", "loops": "auto",
		"processes": "2", "process_model": "shared",
	}
	everywhere := []string{"processes", "process_model", "loops", "block", "blocks"}
	for _, test := range []struct {
		model, driver string
		used          []string
	}{
		{"reactor", "uring", []string{"accept", "balance", "direct"}},
		{"reactor", "epoll", []string{"accept", "balance", "trigger"}},
		{"reactor", "rtsig", []string{"accept", "balance", "signal"}},
		{"reactor", "sweep", []string{"accept", "balance", "sweep"}},
		{"reactor", "poll", []string{"accept", "balance"}},
		{"workpool", "", []string{"workers", "queue"}},
		{"goroutine", "", nil},
		{"single", "", nil},
	} {
		for _, key := range keysOf(reflect.TypeFor[Engine]()) {
			if key == "driver" || key == "model" {
				continue
			}
			if values[key] == "" {
				t.Fatalf("the test has no value for engine.%s", key)
			}
			text := "engine:\n  model: " + test.model + "\n  " + key + ": " + values[key] + "\nroutes: [{respond: {body: a}}]\n"
			c, _, err := known.Parse("a.yaml", text, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Unused(test.driver)
			if slices.Contains(test.used, key) || slices.Contains(everywhere, key) {
				if len(got) > 0 {
					t.Errorf("%s, %q: engine.%s is used, and warned of: %v", test.model, test.driver, key, got)
				}
				continue
			}
			if len(got) != 1 || got[0].Path != "engine."+key || got[0].Line != 3 || got[0].Excerpt == "" ||
				!strings.Contains(got[0].Mend, "leave it out, or choose engine.") {
				t.Errorf("%s, %q: the warnings of engine.%s are %v", test.model, test.driver, key, got)
			}
		}
	}
}

func TestUnusedKeysOfFlags(t *testing.T) {
	c, _, err := known.Load("", []Override{
		{Flag: "--model thread", Path: "engine.model", Value: "thread"},
		{Flag: "--driver poll", Path: "engine.driver", Value: "poll"},
		SetFlag("engine.direct=never"), SetFlag("engine.accept=auto"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Unused(""); len(got) != 1 || got[0].Where() != "--driver poll" {
		t.Errorf("the warnings are %v", got)
	}
	if got := Default().Unused(""); len(got) != 0 {
		t.Errorf("nothing was said, and warned of: %v", got)
	}
}
