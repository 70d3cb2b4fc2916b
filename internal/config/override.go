package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Override is one flag that says what a key holds, whatever the file says.
type Override struct {
	// Flag is the flag as it was typed, such as "--driver epoll"; problems name it.
	Flag string
	// Path is the key, such as engine.driver.
	Path string
	// Value is a text, read as a file's value is read, or a value of the key's own type, such as []Listener.
	Value any
}

// SetFlag is the override of --set with the given text, such as "timeouts.idle=15m".
func SetFlag(text string) Override {
	o := Override{Flag: "--set " + text, Path: text}
	if path, value, ok := strings.Cut(text, "="); ok {
		o.Path, o.Value = strings.TrimSpace(path), value
	}
	return o
}

// Set changes one key of c, such as "timeouts.idle=15m", "listeners[0].backlog=512" or "routes[0].methods=[GET, HEAD]".
// It reads the value but does not check its bounds: Check does. After an error c is no longer to be used.
func Set(c *Config, text string) error {
	return SetFlag(text).apply(c).err()
}

func (o Override) apply(c *Config) Problems {
	if c.source == nil {
		c.source = newSource("", "")
	}
	refuse := func(err error) Problems {
		message, mend := split(err)
		return Problems{{Flag: o.Flag, Message: message, Mend: mend}}
	}
	if o.Value == nil {
		return refuse(&mistake{"there is no value", "write a key, = and a value, as in timeouts.idle=15m"})
	}
	steps, err := parsePath(o.Path)
	if err != nil {
		return refuse(err)
	}
	target, commit, err := resolve(c, steps)
	if err != nil {
		return refuse(err)
	}
	value := reflect.ValueOf(o.Value)
	if t := target.Type(); value.Type() != t && !(t.Kind() == reflect.String && value.Kind() == reflect.String) {
		text := fmt.Sprint(o.Value)
		if problems := o.read(text, target); len(problems) > 0 {
			return problems
		}
	} else {
		target.Set(value.Convert(t))
	}
	commit()
	c.source.override(canonical(steps), o.Flag)
	return nil
}

// read reads a text into target: one value as it stands, anything else as YAML.
func (o Override) read(text string, target reflect.Value) Problems {
	t := target.Type()
	if isText(t) || !isCollection(t) && t.Kind() != reflect.Pointer {
		if err := setText(target, text); err != nil {
			message, mend := split(err)
			return Problems{{Flag: o.Flag, Message: message, Mend: mend}}
		}
		return nil
	}
	s := newSource("", text)
	body, problems := parse(s, text)
	if len(problems) == 0 {
		d := decoder{source: s}
		d.value(body, o.Path, place{1, 1, 1}, target)
		problems = d.problems
	}
	for i, problem := range problems {
		if problem.Path == o.Path {
			problem.Path = ""
		}
		problem.Line, problem.Column, problem.Excerpt, problem.Flag = 0, 0, "", o.Flag
		problems[i] = problem
	}
	return problems
}

func canonical(steps []step) string {
	path := ""
	for _, at := range steps {
		if at.item {
			path = item(path, at.index)
		} else {
			path = child(path, at.name)
		}
	}
	return path
}
