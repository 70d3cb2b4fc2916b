package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// Check reports everything that is wrong with c: err is a Problems, or nil if c can be run. Warnings are what can be
// run but is probably not meant. Directories that files are served from must exist.
func Check(c *Config, known Known) (warnings []Problem, err error) {
	errs, found := known.examine(c, nil)
	return found, errs.err()
}

// examine checks what was read and adds what it finds to the problems of the reading. A key that has a problem is not
// blamed for what follows from it.
func (k Known) examine(c *Config, problems Problems) (errs, warnings Problems) {
	s := c.source
	if s == nil {
		s = newSource("", "")
	}
	b := bounds{source: s, problems: problems}
	b.value(reflect.ValueOf(c).Elem(), "", "")
	r := rules{config: c, known: k, source: s, problems: b.problems}
	r.run()
	r.problems.sort()
	r.warnings.sort()
	return r.problems, r.warnings
}

// bounds checks every value by itself: numbers against the min and max of their key, words against their lists.
type bounds struct {
	source   *source
	problems Problems
}

func (b *bounds) value(v reflect.Value, path string, tag reflect.StructTag) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if !v.IsNil() {
			b.value(v.Elem(), path, tag)
		}
	case t.Kind() == reflect.Struct && !isText(t):
		for _, field := range reflect.VisibleFields(t) {
			if name := keyOf(field); name != "" {
				b.value(v.FieldByIndex(field.Index), child(path, name), field.Tag)
			}
		}
	case t.Kind() == reflect.Slice:
		for i := range v.Len() {
			b.value(v.Index(i), item(path, i), tag)
		}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		for _, key := range v.MapKeys() {
			b.value(v.MapIndex(key), child(path, key.String()), tag)
		}
	case v.CanInterface():
		b.single(v, path, tag)
	}
}

func (b *bounds) single(v reflect.Value, path string, tag reflect.StructTag) {
	if list, ok := v.Interface().(choice); ok {
		if word := v.String(); !slices.Contains(list.Values(), word) {
			mend := suggestWord(word, list.Values())
			if _, ok := list.(AutoBool); ok {
				mend = suggestBool(word)
			}
			b.report(path, fmt.Sprintf("%q is not a choice", word), mend)
		}
		return
	}
	if special, ok := v.Interface().(worded); ok && special.Word() != "" {
		return
	}
	if least, ok := tag.Lookup("min"); ok && below(v, bound(v.Type(), least)) {
		b.report(path, textOf(v)+" is too small", "write "+wordOfZero(v)+"at least "+least)
	}
	if most, ok := tag.Lookup("max"); ok && below(bound(v.Type(), most), v) {
		b.report(path, textOf(v)+" is too large", "write at most "+most)
	}
}

// wordOfZero is the word that may be written instead of a number, for those whose zero is one.
func wordOfZero(v reflect.Value) string {
	if special, ok := reflect.Zero(v.Type()).Interface().(worded); ok && special.Word() != "" {
		return special.Word() + ", or "
	}
	return ""
}

func (b *bounds) report(path, message, mend string) {
	// A value that could not be read keeps its default, which is within its bounds; only its text was wrong.
	b.problems = append(b.problems, b.source.locate(Problem{Path: path, Message: message, Mend: mend}))
}

// bound is the value of a min or max tag, read as the key itself is read, for 0 also where a file may not say it.
func bound(t reflect.Type, text string) reflect.Value {
	v := reflect.New(t).Elem()
	if text == "0" {
		return v
	}
	if err := setText(v, text); err != nil {
		panic(fmt.Sprintf("config: the bound %q of a %s cannot be read: %v", text, t, err))
	}
	return v
}

func below(a, b reflect.Value) bool {
	if a.CanFloat() {
		return !(a.Float() >= b.Float()) // so that what is not a number is below everything
	}
	if a.CanInt() {
		return a.Int() < b.Int()
	}
	return a.CanUint() && a.Uint() < b.Uint()
}

func textOf(v reflect.Value) string {
	if writer, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := writer.MarshalText(); err == nil {
			return string(text)
		}
	}
	if v.CanFloat() {
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}
