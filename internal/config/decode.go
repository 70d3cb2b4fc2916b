package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder turns the nodes of a document into values, and goes on after a problem so that all are found. It reads every
// scalar from its text: what "off", "0660" or "1e3" mean is for the key's type to say and not for YAML.
type decoder struct {
	source   *source
	problems Problems
}

// mostProblems bounds what is said about one file: one with more is not a configuration.
const mostProblems = 1000

func (d *decoder) report(at place, path, message, mend string) {
	if len(d.problems) >= mostProblems {
		return
	}
	if len(d.problems) == mostProblems-1 {
		message, mend = "this and more is wrong", "mend what is said above first"
	}
	problem := Problem{Path: path, Message: message, Mend: mend}
	d.problems = append(d.problems, d.source.point(problem, at))
}

// value decodes a node into target; at is the place of its key.
func (d *decoder) value(node ast.Node, path string, at place, target reflect.Value) {
	switch node := node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.report(placeOf(node.GetToken()), path, "anchors, aliases and tags are not read here", "write the value itself")
		return
	case nil, *ast.NullNode:
		d.report(at, path, "there is no value", "write one, or leave the key out")
		return
	}
	d.source.places[path] = at
	t := target.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		fresh := reflect.New(t.Elem())
		fresh.Elem().Set(defaultOf(t.Elem()))
		target.Set(fresh)
		d.value(node, path, at, fresh.Elem())
	case isText(t), !isCollection(t):
		d.scalar(node, path, at, target)
	case t.Kind() == reflect.Struct:
		if mapping, ok := node.(*ast.MappingNode); ok {
			d.structure(mapping, path, target)
		} else {
			d.report(at, path, "this is "+kindOf(node)+", keys are wanted",
				"the keys are "+strings.Join(keysOf(t), ", "))
		}
	case t.Kind() == reflect.Map:
		if mapping, ok := node.(*ast.MappingNode); ok {
			d.mapping(mapping, path, target)
		} else {
			d.report(at, path, "this is "+kindOf(node)+", names and values are wanted", `write {"name": "value"}`)
		}
	default:
		if sequence, ok := node.(*ast.SequenceNode); ok {
			d.list(sequence, path, target)
		} else {
			d.report(at, path, "this is "+kindOf(node)+", a list is wanted", listMend(node))
		}
	}
}

func (d *decoder) structure(node *ast.MappingNode, path string, target reflect.Value) {
	d.entries(node, path, func(name string, key place, value ast.Node) {
		field, ok := fieldOf(target.Type(), name)
		if !ok {
			d.report(key, child(path, name), "there is no such key", suggestKey(target.Type(), name))
			return
		}
		d.value(value, child(path, name), key, target.FieldByIndex(field.Index))
	})
}

func (d *decoder) mapping(node *ast.MappingNode, path string, target reflect.Value) {
	fresh := reflect.MakeMap(target.Type())
	d.entries(node, path, func(name string, key place, value ast.Node) {
		element := reflect.New(target.Type().Elem()).Elem()
		element.Set(defaultOf(target.Type().Elem()))
		d.source.names[child(path, name)] = key
		d.value(value, child(path, name), key, element)
		fresh.SetMapIndex(reflect.ValueOf(name), element)
	})
	target.Set(fresh)
}

// entries calls visit for every key of a mapping but those said before.
func (d *decoder) entries(node *ast.MappingNode, path string, visit func(string, place, ast.Node)) {
	lines := make(map[string]int)
	for _, entry := range node.Values {
		if len(d.problems) >= mostProblems {
			return
		}
		name, key, ok := keyText(entry.Key)
		if !ok {
			d.report(key, path, "this is not a key", "write a name, a colon and a space before the value")
			continue
		}
		if line, twice := lines[name]; twice {
			d.report(key, child(path, name), "the key is said twice",
				fmt.Sprintf("the first is in line %d: keep one", line))
			continue
		}
		lines[name] = key.line
		visit(name, key, entry.Value)
	}
}

// mostItems bounds a list: far beyond what a person writes, and checking items against each other stays cheap.
const mostItems = 10_000

func (d *decoder) list(node *ast.SequenceNode, path string, target reflect.Value) {
	if len(node.Values) > mostItems {
		message := fmt.Sprintf("the list has %d items, %d are read", len(node.Values), mostItems)
		d.report(d.source.places[path], path, message, "write fewer")
		return
	}
	fresh := reflect.MakeSlice(target.Type(), len(node.Values), len(node.Values))
	for i, value := range node.Values {
		fresh.Index(i).Set(defaultOf(target.Type().Elem()))
		at := d.source.places[path]
		if i < len(node.Entries) && node.Entries[i] != nil {
			at = placeOf(node.Entries[i].Start)
		}
		if value != nil {
			if first, ok := firstToken(value); ok {
				at = placeOf(first)
			}
		}
		d.value(value, item(path, i), at, fresh.Index(i))
	}
	target.Set(fresh)
}

func (d *decoder) scalar(node ast.Node, path string, at place, target reflect.Value) {
	text, where, ok := scalarText(node)
	if !ok {
		d.report(at, path, "this is "+kindOf(node)+", one value is wanted",
			"write it after the colon, without brackets")
		return
	}
	d.source.places[path] = where
	if err := setText(target, text); err != nil {
		message, mend := split(err)
		d.report(where, path, message, mend)
	}
}

// setText reads a text into a value that is not a collection.
func setText(target reflect.Value, text string) error {
	if reader, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return reader.UnmarshalText([]byte(text))
	}
	switch target.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return &mistake{fmt.Sprintf("%q is neither true nor false", text), suggestBool(text)}
		}
		target.SetBool(text == "true")
	case reflect.Int:
		value, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrRange) {
			return &mistake{fmt.Sprintf("%q is more than can be counted", text), "write a smaller number"}
		}
		if err != nil {
			return &mistake{fmt.Sprintf("%q is not a whole number", text), "write digits only"}
		}
		target.SetInt(int64(value))
	case reflect.Float64:
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || value != value {
			return &mistake{fmt.Sprintf("%q is not a number", text), "write a number such as 0.5"}
		}
		target.SetFloat(value)
	default:
		target.SetString(text)
	}
	return nil
}

func suggestBool(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "1", "t", "true":
		return "did you mean true?"
	case "no", "off", "n", "0", "f", "false":
		return "did you mean false?"
	default:
		return "write true or false"
	}
}

func split(err error) (message, mend string) {
	if m, ok := err.(*mistake); ok {
		return m.message, m.mend
	}
	return err.Error(), ""
}

// scalarText is the text of a node that is one value, as it was meant: without quotes, with escapes resolved.
func scalarText(node ast.Node) (text string, at place, ok bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, placeOf(node.Token), true
	case *ast.LiteralNode:
		return node.Value.Value, placeOf(node.Start), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, placeOf(node.GetToken()), true
	case *ast.MappingNode:
		if len(node.Values) == 1 {
			return joinedText(node.Values[0])
		}
	case *ast.MappingValueNode:
		return joinedText(node)
	}
	return "", place{}, false
}

// joinedText is the text of a key and a value without a space between them, such as localhost:80. Within braces the
// parser takes it apart, against the rule of YAML that a key ends with a colon and a space.
func joinedText(node *ast.MappingValueNode) (text string, at place, ok bool) {
	if node.Key == nil || node.Value == nil {
		return "", place{}, false
	}
	key, at, ok := scalarText(node.Key)
	value, after, both := scalarText(node.Value)
	if !ok || !both || after.line != at.line || at.column+utf8.RuneCountInString(key)+1 != after.column {
		return "", place{}, false
	}
	at.width = after.column + after.width - at.column
	return key + ":" + value, at, true
}

func keyText(key ast.MapKeyNode) (text string, at place, ok bool) {
	node := ast.Node(key)
	if explicit, is := node.(*ast.MappingKeyNode); is {
		node = explicit.Value
	}
	if node == nil {
		return "", place{}, false
	}
	if _, null := node.(*ast.NullNode); null {
		return "", placeOf(node.GetToken()), false
	}
	text, at, ok = scalarText(node)
	if !ok {
		at = placeOf(node.GetToken())
	}
	return text, at, ok
}

// firstToken is where a node begins for a reader: a mapping begins with its first key.
func firstToken(node ast.Node) (*token.Token, bool) {
	if mapping, ok := node.(*ast.MappingNode); ok && len(mapping.Values) > 0 && mapping.Values[0].Key != nil {
		return mapping.Values[0].Key.GetToken(), true
	}
	first := node.GetToken()
	return first, first != nil
}

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1, 1}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(t.Origin), "\n")
	return place{t.Position.Line, t.Position.Column, utf8.RuneCountInString(text)}
}

func kindOf(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

func listMend(node ast.Node) string {
	if text, _, ok := scalarText(node); ok && len(text) < longestMisspelling && !strings.Contains(text, "\n") {
		return fmt.Sprintf("did you mean [%s]?", text)
	}
	return `begin each item with "- "`
}

func isCollection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

// isText reports whether values of the type are written as one text, whatever they are made of.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// keyOf is the key of a field, "" if a file cannot say it.
func keyOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return name
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, field := range reflect.VisibleFields(t) {
		if name := keyOf(field); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for _, field := range reflect.VisibleFields(t) {
		if name != "" && keyOf(field) == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}
