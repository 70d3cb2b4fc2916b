package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/myriad-server/myriad/internal/config"
)

// Scenario is a file of settings.
type Scenario struct {
	Settings
	name string
	text string
	tree *ast.File
}

// largestScenario is far beyond what a person writes, and bounds what a mistaken path can cost.
const largestScenario = 1 << 20

// ReadScenario reads a file. The error is a config.Problems with the place of each of them.
func ReadScenario(path string) (*Scenario, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > largestScenario {
		err = fmt.Errorf("%s has %d bytes, too many for a scenario", path, info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, config.Problems{{File: path, Message: "the scenario cannot be read: " + err.Error()}}
	}
	return parseScenario(path, string(text))
}

func parseScenario(name, text string) (*Scenario, error) {
	s := &Scenario{name: name, text: text}
	var err error
	if s.tree, err = parser.ParseBytes([]byte(text), 0); err != nil {
		return nil, config.Problems{s.problem(err)}
	}
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	if len(s.tree.Docs) > 1 {
		return nil, config.Problems{{File: name, Message: "there is more than one document in it"}}
	}
	if problem, wrong := s.mistimed(); wrong {
		return nil, config.Problems{problem}
	}
	if err := yaml.UnmarshalWithOptions([]byte(text), &s.Settings, yaml.Strict()); err != nil {
		return nil, config.Problems{s.problem(err)}
	}
	return s, nil
}

// mistimed finds a time that is none. The YAML package does not tell the place of one, and takes a number without a
// unit for nanoseconds.
func (s *Scenario) mistimed() (p config.Problem, wrong bool) {
	kind := reflect.TypeFor[Settings]()
	for i := range kind.NumField() {
		if kind.Field(i).Type != reflect.TypeFor[*time.Duration]() {
			continue
		}
		path, err := yaml.PathString("$." + kind.Field(i).Tag.Get("yaml"))
		if err != nil {
			continue
		}
		node, err := path.FilterFile(s.tree)
		if err != nil || node == nil || node.Type() == ast.NullType {
			continue
		}
		value := node.GetToken()
		if _, err := time.ParseDuration(value.Value); err != nil {
			p = config.Problem{File: s.name, Message: "it must be a time such as 10s"}
			s.place(&p, value)
			return p, true
		}
	}
	return p, false
}

// problem gives an error of the YAML package its place.
func (s *Scenario) problem(err error) config.Problem {
	p := config.Problem{File: s.name, Message: err.Error()}
	var placed yaml.Error
	if errors.As(err, &placed) {
		p.Message = placed.GetMessage()
		s.place(&p, placed.GetToken())
	}
	var mistyped *yaml.TypeError
	if errors.As(err, &mistyped) && mistyped.DstType != nil {
		p.Message = "it must be " + kindOf(mistyped.DstType)
	}
	if strings.HasSuffix(p.Message, "was used where mapping is expected") {
		p.Message, p.Mend = "a scenario is keys with values", "such as target: http://127.0.0.1:8080/"
	}
	if name, ok := strings.CutPrefix(p.Message, "unknown field "); ok {
		p.Message = "there is no key " + name
		p.Mend = "keys are the flags of myriad bench without the dashes; headers, stages and sources are lists"
	}
	return p
}

// kindOf tells people what a setting's type takes.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "a text"
	case reflect.Int64:
		return "a time such as 10s"
	case reflect.Pointer:
		return kindOf(t.Elem())
	}
	return "a whole number"
}

func (s *Scenario) place(p *config.Problem, t *token.Token) {
	if t == nil || t.Position == nil {
		return
	}
	p.Line, p.Column = t.Position.Line, t.Position.Column
	if lines := strings.Split(s.text, "\n"); p.Line <= len(lines) {
		line := strings.ReplaceAll(strings.TrimSuffix(lines[p.Line-1], "\r"), "\t", " ")
		p.Excerpt = fmt.Sprintf("%5d | %s\n      | %s^", p.Line, line, strings.Repeat(" ", max(0, p.Column-1)))
	}
}

// problemOf gives a fault the place that it was said at: a flag, or a line of the file. Both may be nil.
func problemOf(f Fault, file *Scenario, flags Settings) config.Problem {
	p := config.Problem{Message: f.Message}
	key, _, _ := strings.Cut(f.Key, "[")
	if file != nil && !flags.said(key) {
		p.File = file.name
		if file.tree != nil && file.said(key) {
			p.Path = f.Key
			if path, err := yaml.PathString("$." + f.Key); err == nil {
				if node, err := path.FilterFile(file.tree); err == nil && node != nil {
					file.place(&p, node.GetToken())
				}
			}
			return p
		}
	}
	if key == "target" {
		return p
	}
	p.Flag = "--" + keysOf()[key]
	return p
}

// PlanOf makes a plan of flags and of a scenario, which may be nil; flags win. The error is a config.Problems.
func PlanOf(ctx context.Context, flags Settings, file *Scenario) (Plan, error) {
	all := flags
	if file != nil {
		all = flags.Over(file.Settings)
	}
	plan, faults := all.Plan(ctx)
	var problems config.Problems
	for _, f := range faults {
		problems = append(problems, problemOf(f, file, flags))
	}
	if len(problems) > 0 {
		return plan, problems
	}
	var err error
	plan.Scenario, err = all.Again()
	return plan, err
}
