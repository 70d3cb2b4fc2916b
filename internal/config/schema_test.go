package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// schemaOf is the schema as another program reads it.
func schemaOf(t *testing.T, k Known) map[string]any {
	t.Helper()
	text, err := k.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// validator checks a value against the parts of JSON Schema that the schema uses, and fails on any other.
type validator struct{ root map[string]any }

func (v validator) check(schema map[string]any, value any, path string) error {
	for keyword, rule := range schema {
		if err := v.keyword(schema, keyword, rule, value, path); err != nil {
			return err
		}
	}
	return nil
}

func (v validator) keyword(schema map[string]any, keyword string, rule, value any, path string) error {
	wrong := func() error { return fmt.Errorf("%s: %v is against %s %v", path, value, keyword, rule) }
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch keyword {
	case "$schema", "$defs", "title", "description", "default":
	case "$ref":
		name := strings.TrimPrefix(rule.(string), "#/$defs/")
		return v.check(v.root["$defs"].(map[string]any)[name].(map[string]any), value, path)
	case "type":
		kind := map[reflect.Kind]string{
			reflect.String: "string", reflect.Float64: "number", reflect.Bool: "boolean",
			reflect.Map: "object", reflect.Slice: "array",
		}[reflect.TypeOf(value).Kind()]
		if whole := isNumber && number == float64(int64(number)); kind != rule && !(rule == "integer" && whole) {
			return wrong()
		}
	case "enum":
		if !slices.Contains(rule.([]any), value) {
			return wrong()
		}
	case "const":
		if rule != value {
			return wrong()
		}
	case "pattern":
		if isText && !regexp.MustCompile(rule.(string)).MatchString(text) {
			return wrong()
		}
	case "minimum":
		if isNumber && number < rule.(float64) {
			return wrong()
		}
	case "maximum":
		if isNumber && number > rule.(float64) {
			return wrong()
		}
	case "required", "items", "properties", "additionalProperties":
		return v.collection(schema, keyword, rule, value, path)
	case "anyOf", "oneOf", "not":
		return v.combine(keyword, rule, value, path)
	default:
		return fmt.Errorf("%s: the validator does not know %s", path, keyword)
	}
	return nil
}

// collection is keyword for the keywords of objects and arrays.
func (v validator) collection(schema map[string]any, keyword string, rule, value any, path string) error {
	object, isObject := value.(map[string]any)
	list, _ := value.([]any)
	switch keyword {
	case "required":
		for _, key := range rule.([]any) {
			if _, ok := object[key.(string)]; isObject && !ok {
				return fmt.Errorf("%s: there is no %s", path, key)
			}
		}
	case "items":
		for i, one := range list {
			if err := v.check(rule.(map[string]any), one, item(path, i)); err != nil {
				return err
			}
		}
	case "properties":
		for key, one := range object {
			if property, ok := rule.(map[string]any)[key]; ok {
				if err := v.check(property.(map[string]any), one, child(path, key)); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		for key, one := range object {
			properties, _ := schema["properties"].(map[string]any)
			if _, ok := properties[key]; ok {
				continue
			}
			others, ok := rule.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: no other key is allowed", child(path, key))
			}
			if err := v.check(others, one, child(path, key)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v validator) combine(keyword string, rule, value any, path string) error {
	if keyword == "not" {
		if v.check(rule.(map[string]any), value, path) == nil {
			return fmt.Errorf("%s: what must not be is", path)
		}
		return nil
	}
	matching := 0
	var last error
	for _, option := range rule.([]any) {
		if err := v.check(option.(map[string]any), value, path); err != nil {
			last = err
		} else {
			matching++
		}
	}
	if matching == 0 || keyword == "oneOf" && matching != 1 {
		return fmt.Errorf("%s: %d of %s match: %v", path, matching, keyword, last)
	}
	return nil
}

// plainValue is a YAML text as JSON would hold it.
func plainValue(t *testing.T, text []byte) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		t.Fatalf("%v\n%s", err, asJSON)
	}
	return value
}

func TestSchemaTakesWhatLoadTakes(t *testing.T) {
	schema := schemaOf(t, known)
	v := validator{root: schema}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		c, err := Load(file, nil)
		text, readErr := os.ReadFile(file)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err != nil || strings.Contains("empty.yaml comment.yaml", filepath.Base(file)) {
			continue
		}
		tried++
		if err := v.check(schema, plainValue(t, text), ""); err != nil {
			t.Errorf("the schema refuses %s: %v", file, err)
		}
		whole, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.check(schema, plainValue(t, whole), ""); err != nil {
			t.Errorf("the schema refuses %s written out whole: %v\n%s", file, err, whole)
		}
	}
	if tried < 4 {
		t.Errorf("only %d files were tried", tried)
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := schemaOf(t, known)
	v := validator{root: schema}
	for _, text := range []string{
		"listener: []",
		"timeouts: {idel: 1s}",
		"timeouts: {idle: 15}",
		"timeouts: {idle: 15 s}",
		"timeouts: {idle: unlimited}",
		"timeouts: {request: off}",
		"limits: {connections: 0}",
		"limits: {head: 16KB}",
		"limits: {head: -1}",
		"limits: {fields: 0}",
		"limits: {fields: 10001}",
		"listeners: [{protocol: http}]",
		"listeners: [{address: ':80', protocol: htp}]",
		"listeners: [{address: ':80', reuseport: sometimes}]",
		"listeners: [{address: ':80', mode: rw}]",
		"listeners: {address: ':80'}",
		"routes: [{path: /}]",
		"routes: [{files: {}}]",
		"routes: [{path: /, prefix: /, status: {}}]",
		"routes: [{status: {}, respond: {body: hello}}]",
		"routes: [{status: {verbose: true}}]",
		"routes: [{redirect: {status: 308}}]",
		"routes: [{respond: {headers: [a]}}]",
		"engine: {driver: kqueue}",
		"engine: {model: actor}",
		"engine: {balance: dice}",
		"access_log: {sample: 2}",
	} {
		if err := v.check(schema, plainValue(t, []byte(text)), ""); err == nil {
			t.Errorf("the schema takes %s", text)
		}
		if _, _, err := known.Parse("refused.yaml", text, nil); err == nil {
			t.Errorf("Load takes %s", text)
		}
	}
}

func TestEveryKeyIsInSchemaAndExample(t *testing.T) {
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := known.Parse("full.yaml", string(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	index, upstream := regexp.MustCompile(`\[\d+\]`), regexp.MustCompile(`^upstreams\.\w+`)
	for path := range c.source.places {
		said[index.ReplaceAllString(upstream.ReplaceAllString(path, "upstreams.NAME"), "[0]")] = true
	}
	schema := schemaOf(t, Known{})
	definitions := schema["$defs"].(map[string]any)
	visitTypes(reflect.TypeFor[Config](), "", func(path string, field reflect.StructField) {
		if !said[path] {
			t.Errorf("testdata/full.yaml does not say %s", path)
		}
		found := false
		for _, definition := range append([]any{schema}, slices.Collect(maps.Values(definitions))...) {
			properties, _ := definition.(map[string]any)["properties"].(map[string]any)
			property, ok := properties[keyOf(field)].(map[string]any)
			description, _ := property["description"].(string)
			found = found || ok && len(description) > 10
		}
		if !found {
			t.Errorf("the schema does not describe %s", path)
		}
	})
}
