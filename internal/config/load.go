package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Known is the names that this program has for what a configuration chooses by name. They are the caller's, because the
// packages behind them are above this one. An empty list leaves its key unchecked.
type Known struct {
	Drivers  []string // engine.driver, besides "auto"
	Models   []string // engine.model
	Loopless []string // those of Models that have no event loops
	Policies []string // engine.balance
}

// Load is the configuration of the file at path, or without one the default, changed by the overrides in their order.
// The error is a Problems with everything that is wrong, or what kept the file from being read.
func Load(path string, overrides []Override) (*Config, error) {
	c, _, err := Known{}.Load(path, overrides)
	return c, err
}

// Load is the package's Load, and also checks names and returns the warnings. The configuration is nil with an error.
func (k Known) Load(path string, overrides []Override) (c *Config, warnings []Problem, err error) {
	text := ""
	if path != "" {
		if text, err = Read(path); err != nil {
			return nil, nil, err
		}
	}
	return k.Parse(path, text, overrides)
}

// Parse is Load for a text that was read already; name is what problems call its file.
func (k Known) Parse(name, text string, overrides []Override) (*Config, []Problem, error) {
	c := Default()
	text = strings.TrimPrefix(text, byteOrderMark)
	c.source = newSource(name, text)
	body, problems := parse(c.source, text)
	unread := len(problems) > 0
	if body != nil {
		problems = decode(c, body)
	}
	for _, override := range overrides {
		problems = append(problems, override.apply(c)...)
	}
	if unread {
		return nil, nil, problems // checking the defaults that stand in for the file would only confuse
	}
	errs, warnings := k.examine(c, problems)
	if len(errs) > 0 {
		return nil, warnings, errs
	}
	return c, warnings, nil
}

// byteOrderMark is what some editors write in front of UTF-8. It is no part of the first key.
const byteOrderMark = "\ufeff"

// largestFile is far beyond what a person writes, and bounds what a mistaken path can cost.
const largestFile = 256 << 10

// Read reads a configuration's file. The error is a Problems.
func Read(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		message, mend := err.Error(), ""
		if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
			message = "the file cannot be read: " + cause.Err.Error()
		}
		if errors.Is(err, fs.ErrNotExist) {
			mend = "check the path; without a file the defaults are taken"
		}
		return "", Problems{{File: path, Message: message, Mend: mend}}
	}
	return string(text), nil
}

// decode reads the node of a document into c.
func decode(c *Config, body ast.Node) Problems {
	d := decoder{source: c.source}
	mapping, ok := body.(*ast.MappingNode)
	if !ok {
		d.report(placeOf(body.GetToken()), "", "this is "+kindOf(body)+", keys are wanted",
			"the keys are "+strings.Join(keysOf(reflect.TypeFor[Config]()), ", "))
		return d.problems
	}
	d.structure(mapping, "", reflect.ValueOf(c).Elem())
	return d.problems
}

// deepest is how many lists and mappings may stand in one another; the configuration needs six.
const deepest = 32

// parse is the document's only node, nil when it is empty. The parser stops at the first syntax error, so there is one
// at most.
func parse(s *source, text string) (body ast.Node, problems Problems) {
	refuse := func(t *token.Token, message, mend string) Problems {
		return Problems{s.point(Problem{Message: message, Mend: mend}, placeOf(t))}
	}
	if len(text) > largestFile {
		return nil, refuse(nil, fmt.Sprintf("the file has %d bytes, %d are read", len(text), largestFile), "")
	}
	// A parser of a language this large has corners; a file that finds one is refused like any other bad file.
	defer func() {
		if cause := recover(); cause != nil {
			body, problems = nil, refuse(nil, "this is not YAML that can be read", "")
		}
	}()
	tokens := lexer.Tokenize(text)
	if t := tooDeep(tokens); t != nil {
		return nil, refuse(t, fmt.Sprintf("more than %d lists and mappings stand in one another", deepest), "")
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if cause := yaml.Error(nil); errors.As(err, &cause) {
			if strings.Contains(cause.GetMessage(), "'\t'") {
				return nil, refuse(cause.GetToken(), "syntax: a tab does not indent", "write spaces")
			}
			if strings.Contains(cause.GetMessage(), "'@'") {
				return nil, refuse(cause.GetToken(), "syntax: "+cause.GetMessage(), `write the value in quotes, as in "unix:@a"`)
			}
			return nil, refuse(cause.GetToken(), "syntax: "+cause.GetMessage(), "")
		}
		return nil, refuse(nil, "syntax: "+err.Error(), "")
	}
	for _, document := range file.Docs {
		switch found := document.Body.(type) {
		case nil, *ast.CommentGroupNode, *ast.DirectiveNode:
			continue
		default:
			if body != nil {
				first, _ := firstToken(found)
				return nil, refuse(first, "this is a second document", "keep one in a file")
			}
			body = found
		}
	}
	return body, nil
}

// tooDeep is the token where a document goes deeper than allowed, seen before the parser recurses into it.
func tooDeep(tokens token.Tokens) *token.Token {
	open, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			entries, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			entries++
		}
		if open > deepest || entries > deepest {
			return t
		}
	}
	return nil
}

// Marshal is the YAML of a whole configuration, every key written out, which Load reads back to an equal one.
func Marshal(c *Config) ([]byte, error) { return yaml.Marshal(c) }
