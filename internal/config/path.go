package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// A path names a key: names joined by dots, list items as [0], keys of mappings that are not plain names as [".html"].

// step is one part of a path: a name, or the index of a list item.
type step struct {
	name  string
	index int
	item  bool // index counts
}

// child is the path of a key below path.
func child(path, name string) string {
	if !plain(name) {
		return fmt.Sprintf("%s[%q]", path, name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// item is the path of a list item below path.
func item(path string, index int) string {
	return path + "[" + strconv.Itoa(index) + "]"
}

func plain(name string) bool {
	for _, r := range name {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return name != ""
}

// parent is the path one step up, "" at the top.
func parent(path string) string {
	if strings.HasSuffix(path, `"]`) {
		// Only the last step can be quoted: names and values hold no further names.
		if start := strings.Index(path, `["`); start >= 0 {
			return path[:start]
		}
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// within reports whether path is outer or lies below it.
func within(outer, path string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// parsePath takes a path apart.
func parsePath(path string) ([]step, error) {
	var steps []step
	rest := path
	for rest != "" {
		if rest[0] == '[' {
			parsed, after, err := parseBracket(rest)
			if err != nil {
				return nil, err
			}
			steps, rest = append(steps, parsed), after
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				break
			}
			steps, rest = append(steps, step{name: rest[:end]}), rest[end:]
		}
		if after, ok := strings.CutPrefix(rest, "."); ok && after != "" && after[0] != '[' {
			rest = after
		} else if rest != "" && rest[0] != '[' {
			break
		}
	}
	if len(steps) == 0 || rest != "" {
		return nil, &mistake{fmt.Sprintf("%q is not a key", path), "write names joined by dots, " +
			"such as timeouts.idle or listeners[0].backlog"}
	}
	return steps, nil
}

func parseBracket(text string) (parsed step, rest string, err error) {
	if quoted, err := strconv.QuotedPrefix(text[1:]); err == nil && quoted[0] == '"' {
		name, _ := strconv.Unquote(quoted)
		if rest, ok := strings.CutPrefix(text[1+len(quoted):], "]"); ok {
			return step{name: name}, rest, nil
		}
	}
	inner, rest, closed := strings.Cut(text[1:], "]")
	index, err := strconv.Atoi(inner)
	if err != nil || index < 0 || !closed {
		return step{}, "", &mistake{fmt.Sprintf("%q is not the number of a list item", inner), "count from 0, as in " +
			"listeners[0]; to add an item, write the whole list"}
	}
	return step{index: index, item: true}, rest, nil
}

// resolve walks from a configuration to the value that a path names. Actions on the way that are not there yet begin
// at their defaults. A key of a mapping cannot be written to in place: commit puts the value there.
func resolve(c *Config, steps []step) (value reflect.Value, commit func(), err error) {
	value, commit = reflect.ValueOf(c).Elem(), func() {}
	path := ""
	for _, at := range steps {
		if value.Kind() == reflect.Pointer {
			if value.IsNil() {
				value.Set(reflect.New(value.Type().Elem()))
				value.Elem().Set(defaultOf(value.Type().Elem()))
			}
			value = value.Elem()
		}
		switch {
		case at.item:
			value, err = resolveItem(value, path, at.index)
			path = item(path, at.index)
		case value.Kind() == reflect.Map:
			mapping, key := value, reflect.ValueOf(at.name)
			value = reflect.New(mapping.Type().Elem()).Elem()
			value.Set(defaultOf(mapping.Type().Elem()))
			if there := mapping.MapIndex(key); there.IsValid() {
				value.Set(there)
			}
			target := value
			commit = func() {
				if mapping.IsNil() {
					mapping.Set(reflect.MakeMap(mapping.Type()))
				}
				mapping.SetMapIndex(key, target)
			}
			path = child(path, at.name)
		case value.Kind() == reflect.Struct && !isText(value.Type()):
			value, err = resolveKey(value, path, at.name)
			path = child(path, at.name)
		case value.Kind() == reflect.Slice:
			err = &mistake{path + " is a list", "name an item, as in " + item(path, 0)}
		default:
			err = &mistake{path + " has no keys", "leave out " + at.name}
		}
		if err != nil {
			return reflect.Value{}, nil, err
		}
	}
	return value, commit, nil
}

func resolveItem(value reflect.Value, path string, index int) (reflect.Value, error) {
	if value.Kind() != reflect.Slice {
		return value, &mistake{path + " is not a list", "leave out [" + strconv.Itoa(index) + "]"}
	}
	if index >= value.Len() {
		mend := "write the whole list, as in " + path + "=[...]"
		if value.Len() > 0 {
			mend = fmt.Sprintf("the last is %s; to add one, write the whole list", item(path, value.Len()-1))
		}
		return value, &mistake{fmt.Sprintf("%s has no item %d", path, index), mend}
	}
	return value.Index(index), nil
}

func resolveKey(value reflect.Value, path, name string) (reflect.Value, error) {
	if field, ok := fieldOf(value.Type(), name); ok {
		return value.FieldByIndex(field.Index), nil
	}
	return value, &mistake{unknownKey(path, name), suggestKey(value.Type(), name)}
}
