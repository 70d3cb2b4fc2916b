package config

import (
	"fmt"
	"reflect"
	"strings"
)

func unknownKey(path, name string) string {
	if path == "" {
		return fmt.Sprintf("there is no key %q", name)
	}
	return fmt.Sprintf("there is no key %q in %s", name, path)
}

// suggestKey is the mend for a key that a mapping does not have: a neighbour that is spelled nearly so, the place where
// the key does exist, or all that there are.
func suggestKey(t reflect.Type, name string) string {
	keys := keysOf(t)
	if near := nearest(name, keys); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if homes := homesOf(name); len(homes) > 0 {
		return "did you mean " + orList(homes) + "?"
	}
	if len(keys) == 0 {
		return "it takes no keys: write {}"
	}
	return "the keys are " + strings.Join(keys, ", ")
}

// suggestWord is the mend for a word that is not in a list.
func suggestWord(word string, list []string) string {
	if near := nearest(word, list); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if len(list) == 1 {
		return "write " + list[0]
	}
	return "write one of " + strings.Join(list, ", ")
}

// nearest is the candidate that most resembles word, or "" if none does.
func nearest(word string, candidates []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, candidate := range candidates {
		d := distance(fold(word), fold(candidate))
		if d < least && d < len(candidate) {
			best, least = candidate, d
		}
	}
	return best
}

// fold makes words alike that differ only in how they join their parts.
func fold(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(word))
}

// longestMisspelling bounds the work of distance: nothing in a file is spelled with more letters.
const longestMisspelling = 64

// distance is the number of letters to insert, delete, change or swap with the next to get from a to b (the optimal
// string alignment distance).
func distance(a, b string) int {
	if len(a) > longestMisspelling || len(b) > longestMisspelling {
		return longestMisspelling
	}
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}

// homesOf is the paths of all keys with that name, list items written as [0].
func homesOf(name string) []string {
	var homes []string
	visitTypes(reflect.TypeFor[Config](), "", func(path string, _ reflect.StructField) {
		if path == name || strings.HasSuffix(path, "."+name) {
			homes = append(homes, path)
		}
	})
	return homes
}

// visitTypes calls visit for every key that a configuration can have, in the order of the types.
func visitTypes(t reflect.Type, path string, visit func(path string, field reflect.StructField)) {
	for !isText(t) && (t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer || t.Kind() == reflect.Map) {
		switch t.Kind() {
		case reflect.Slice:
			path = item(path, 0)
		case reflect.Map:
			path = child(path, "NAME")
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || isText(t) {
		return
	}
	for _, field := range reflect.VisibleFields(t) {
		if name := keyOf(field); name != "" {
			visit(child(path, name), field)
			visitTypes(field.Type, child(path, name), visit)
		}
	}
}

func orList(texts []string) string {
	if len(texts) == 1 {
		return texts[0]
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " or " + texts[len(texts)-1]
}
