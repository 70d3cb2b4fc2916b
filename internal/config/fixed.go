package config

import (
	"fmt"
	"reflect"
	"strings"
)

// fixed are the keys that a server cannot change while it runs, with everything below them: what it is made of, what it
// has opened once, and who sees it.
var fixed = []string{
	"engine", "limits.connections", "limits.output_per_connection", "access_log", "log", "admin", "metrics", "recorder",
	"tracing", "pid_file", "bus",
}

// Fixed is a problem for each key of next that differs from c, and that a server cannot change while it runs. Keys that
// have the same meaning as before are the same, however they are said.
func (c *Config) Fixed(next *Config) Problems {
	var found Problems
	for _, path := range fixed {
		was, is := valueAt(c, path), valueAt(next, path)
		compareKeys(path, was, is, func(path string, was, is reflect.Value) {
			problem := Problem{
				Path:    path,
				Message: fmt.Sprintf("it is %s, and cannot become %s while the server runs", shown(was), shown(is)),
				Mend:    "start the server anew, or leave the key as it was",
			}
			found = append(found, next.Locate(problem))
		})
	}
	found.sort()
	return found
}

// Locate completes a problem that knows only its path: with the place that said the nearest key at or above it.
func (c *Config) Locate(problem Problem) Problem {
	if c.source == nil {
		return problem
	}
	return c.source.locate(problem)
}

// valueAt is the value of a key.
func valueAt(c *Config, path string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for key := range strings.SplitSeq(path, ".") {
		field, ok := fieldOf(v.Type(), key)
		if !ok {
			panic("config: there is no key " + path)
		}
		v = v.FieldByIndex(field.Index)
	}
	return v
}

// compareKeys tells of every key at or below path that differs.
func compareKeys(path string, was, is reflect.Value, differs func(path string, was, is reflect.Value)) {
	if reflect.DeepEqual(was.Interface(), is.Interface()) {
		return
	}
	known := false
	if was.Kind() == reflect.Struct {
		for _, field := range reflect.VisibleFields(was.Type()) {
			if key := keyOf(field); key != "" && field.IsExported() {
				known = true
				compareKeys(path+"."+key, was.FieldByIndex(field.Index), is.FieldByIndex(field.Index), differs)
			}
		}
	}
	if !known {
		differs(path, was, is)
	}
}

// shown is a value as an operator would write it, or a word for one that has no short form.
func shown(v reflect.Value) string {
	if k := v.Kind(); (k == reflect.Map || k == reflect.Slice) && v.Len() > 0 {
		return fmt.Sprintf("a list of %d", v.Len())
	}
	if text := textOf(v); text != "" {
		return text
	}
	return "empty"
}
