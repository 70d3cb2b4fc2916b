package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// matches is what a route means, written the long way round: the model that covers is held against.
func (r Route) matches(host, path, method string) bool {
	if domain, wildcard := strings.CutPrefix(r.Host, "*"); wildcard && !strings.HasSuffix(host, domain) ||
		!wildcard && r.Host != "" && r.Host != host {
		return false
	}
	if r.Path != "" && path != r.Path || !strings.HasPrefix(path, r.Prefix) || !strings.HasSuffix(path, r.Suffix) {
		return false
	}
	for _, allowed := range r.Methods {
		if method == allowed || method == "HEAD" && allowed == "GET" {
			return true
		}
	}
	return len(r.Methods) == 0
}

var (
	someHosts   = []string{"", "a.example", "b.a.example", "*.example", "*.a.example", "example"}
	someMethods = [][]string{nil, {"GET"}, {"HEAD"}, {"GET", "HEAD"}, {"PUT"}}
	someTexts   = []string{"/", "/a", "/a/", "/a/b", "/a/b.c", "/b"}
	someEnds    = []string{".c", "b.c", "/", "c"}
)

func drawRoute(t *rapid.T, label string) Route {
	r := Route{
		Host:    rapid.SampledFrom(someHosts).Draw(t, label+" host"),
		Methods: rapid.SampledFrom(someMethods).Draw(t, label+" methods"),
	}
	switch rapid.IntRange(0, 3).Draw(t, label+" kind") {
	case 1:
		r.Path = rapid.SampledFrom(someTexts).Draw(t, label+" path")
	case 2:
		r.Prefix = rapid.SampledFrom(someTexts).Draw(t, label+" prefix")
	case 3:
		r.Suffix = rapid.SampledFrom(someEnds).Draw(t, label+" suffix")
	}
	return r
}

// takesAll tries requests, among them those that nothing but later was made for.
func takesAll(earlier, later Route) bool {
	hosts := []string{later.Host, "q" + strings.TrimPrefix(later.Host, "*"), "q.r" + strings.TrimPrefix(later.Host, "*")}
	paths := append([]string{later.Path, later.Prefix, later.Prefix + "q", "/q" + later.Suffix}, someTexts...)
	for _, host := range hosts {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "PUT", "POST"} {
				sent := strings.HasPrefix(path, "/") && !strings.HasPrefix(host, "*")
				if sent && later.matches(host, path, method) && !earlier.matches(host, path, method) {
					return false
				}
			}
		}
	}
	return true
}

func TestRouteThatCoversAnotherTakesAllItsRequests(t *testing.T) {
	covered, reached := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		earlier, later := drawRoute(t, "earlier"), drawRoute(t, "later")
		if rapid.Bool().Draw(t, "near") { // few of any two cover each other
			later.Path, later.Prefix, later.Suffix = earlier.Path, earlier.Prefix, earlier.Suffix
		}
		if rapid.Bool().Draw(t, "same host") {
			later.Host, later.Methods = earlier.Host, earlier.Methods
		}
		covers := earlier.covers(later)
		all := takesAll(earlier, later)
		if covers {
			covered++
		} else {
			reached++
		}
		if covers != all {
			t.Fatalf("%+v covers %+v: %v, but by their requests %v", earlier, later, covers, all)
		}
	})
	if covered == 0 || reached == 0 {
		t.Errorf("%d covered, %d not: the test tried one side only", covered, reached)
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"head", "body", "idle", "write", "request", "output_per_connection"}
	for word, want := range map[string]string{
		"idel": "idle", "IDLE": "idle", "heads": "head", "requets": "request", "outputperconnection": keys[5],
		"output-per-conection": keys[5], "x": "", "": "", "timeout": "", strings.Repeat("a", 1000): "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
