package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
)

const referencePath = "../../docs/config.md"

// The head and the foot of the reference; a ' stands for the backquote that Go cannot write here.
var (
	referenceHead = strings.ReplaceAll(`# Configuration

One YAML file holds everything; nothing has to be said, because every key has a default. 'myriad check FILE' says what
is wrong with a file, all at once and with the place of each problem, and 'myriad schema' prints the JSON Schema that
editors complete and check from. A key that is not in these tables is an error.

Any key can be said on the command line, where it wins over the file: '--set timeouts.idle=15m',
'--set listeners[0].backlog=512', '--set "routes[0].methods=[GET, HEAD]"'.

## How values are written

| type | written | such as |
|---|---|---|
| duration | as Go writes it; the unit is never left out | '250ms', '30s', '1m30s', '24h' |
| size | bytes, or with a unit that counts in 1024 | '512', '64KiB', '1MiB' |
| count, number | digits | '4096' |
| fraction | digits and a point | '0.25' |
| address | IP and port | ':8080', '127.0.0.1:80', '[::1]:80', 'udp://:53', 'unix:/run/a.sock', 'unix:@name' |
| destination | host or IP and port | '127.0.0.1:9001', 'app.internal:8080', 'unix:/run/a.sock', 'unix:@name' |
| key | what is hashed | 'client', 'path', 'header:X-User', 'cookie:user' |
| ip | an IP address | '10.0.0.7' |
| subnet | a range of IP addresses | '10.0.0.0/8', '::1' |
| file mode | octal permissions | '0660' |
| names and values | a mapping | '{Cache-Control: no-store}' |

Zero never means "without end". Where a limit can be lifted the word is 'unlimited', where a feature can be left out
it is 'off', and where the program can choose it is 'auto'. Anchors, aliases and tags of YAML are not read. Paths that
are not absolute are taken from the directory that the server is started in.

`, "'", "`")

	referenceFoot = strings.ReplaceAll("This file is written by 'go test ./internal/config -update' from the types in "+
		"'internal/config'; a test fails when it is stale.\n", "'", "`")
)

// reference is docs/config.md: the schema in the order of the types, one table for each mapping.
type reference struct {
	text   strings.Builder
	schema *jsonschema.Schema
}

func (r *reference) section(s *jsonschema.Schema, path string) {
	required := make(map[string]bool)
	for _, name := range s.Required {
		required[name] = true
	}
	fmt.Fprintf(&r.text, "| key | type | default | meaning |\n|---|---|---|---|\n")
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		property, kind, value := pair.Value, pair.Value.Title, "none"
		switch {
		case required[pair.Key]:
			value = "required"
		case property.Default != nil:
			value = "`" + asYAML(property.Default) + "`"
		case kind == "" && path != "routes[]": // actions are not there by default, other mappings are
			value = "see below"
		}
		if kind == "" {
			kind = "mapping"
			if property.Items != nil {
				kind = "list of mappings"
			}
		}
		fmt.Fprintf(&r.text, "| `%s` | %s | %s | %s |\n", pair.Key, kind, value, property.Description)
	}
	r.text.WriteString("\n")
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		below := pair.Value
		at := strings.TrimPrefix(path+"."+pair.Key, ".")
		if below.Items != nil && below.Items.Ref != "" {
			below, at = below.Items, at+"[]"
		}
		if others := below.AdditionalProperties; others != nil && others.Ref != "" {
			below, at = others, at+".NAME"
		}
		if name, ok := strings.CutPrefix(below.Ref, "#/$defs/"); ok && r.schema.Definitions[name].Properties.Len() > 0 {
			mapping := r.schema.Definitions[name]
			about := mapping.Description
			if _, after, is := strings.Cut(about, name+" is "); is {
				about = strings.ToUpper(after[:1]) + after[1:]
			}
			fmt.Fprintf(&r.text, "## %s\n\n%s\n\n", at, about)
			r.section(mapping, at)
		}
	}
}

func asYAML(value any) string {
	if text, ok := value.(string); ok && text != "" {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer(`","`, ", ", `["`, "[", `"]`, "]").Replace(string(text))
}

func TestReferenceIsCurrent(t *testing.T) {
	r := reference{schema: Known{}.schema()}
	r.text.WriteString(referenceHead + "## The file\n\n")
	r.section(r.schema, "")
	r.text.WriteString(referenceFoot)
	text := r.text.String()
	golden(t, referencePath, text)
	visitTypes(reflect.TypeFor[Config](), "", func(path string, field reflect.StructField) {
		heading := "## The file\n"
		if above := parent(path); above != "" {
			heading = "## " + strings.ReplaceAll(above, "[0]", "[]") + "\n"
		}
		_, after, found := strings.Cut(text, heading)
		body, _, _ := strings.Cut(after, "\n## ")
		if !found || !strings.Contains(body, "| `"+keyOf(field)+"` |") {
			t.Errorf("%s is not in %s", path, referencePath)
		}
	})
}
