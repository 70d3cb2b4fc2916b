package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// What docs/proxy.md shows is what the program does.
const proxyDocument = "../../docs/proxy.md"

func TestExampleOfTheProxyCanBeRun(t *testing.T) {
	text, err := os.ReadFile(proxyDocument)
	if err != nil {
		t.Fatal(err)
	}
	var example []string
	for line := range strings.Lines(string(text)) {
		if line == "    listeners:\n" || len(example) > 0 && (line == "\n" || strings.HasPrefix(line, "    ")) {
			example = append(example, strings.TrimPrefix(line, "    "))
		} else if len(example) > 0 {
			break
		}
	}
	file := strings.ReplaceAll(strings.Join(example, ""), "/var/www", t.TempDir())
	c, warnings, err := known.Parse("proxy.md", file, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s\nof\n%s", report(warnings, err), file)
	}
	if len(c.Listeners) != 3 || len(c.Upstreams) != 2 || len(c.Routes) != 4 {
		t.Errorf("the example was not read whole:\n%s", file)
	}
}

func TestTimeoutsOfTheProxyAreDocumented(t *testing.T) {
	text, err := os.ReadFile(proxyDocument)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Upstreams = map[string]Upstream{"a": UpstreamTo("a:1")}
	rows := regexp.MustCompile("(?m)^\\| `(timeouts\\.\\w+|queue\\.timeout)` \\| (\\S+) \\|").
		FindAllStringSubmatch(string(text), -1)
	if want := 1 + len(keysOf(reflect.TypeFor[UpstreamTimeouts]())); len(rows) != want {
		t.Errorf("%d timeouts are documented, there are %d", len(rows), want)
	}
	for _, row := range rows {
		steps, err := parsePath("upstreams.a." + row[1])
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := resolve(c, steps)
		if err != nil {
			t.Errorf("%s: %v", row[1], err)
		} else if got := textOf(value); got != row[2] {
			t.Errorf("%s is %s by default, and documented as %s", row[1], got, row[2])
		}
	}
}
