package config

import (
	"embed"
	"encoding"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"sync"

	"github.com/invopop/jsonschema"
)

// The descriptions of the schema are the doc comments of the types, so that a key is described once.
//
//go:embed config.go listener.go route.go rate.go bus.go upstream.go proxy.go observe.go
var typeSources embed.FS

// Schema is the JSON Schema (draft 2020-12) of a configuration file, for editors and for other programs, indented and
// with a final newline. What a file may say and what Load takes differ only where a schema cannot say it.
func Schema() ([]byte, error) { return Known{}.Schema() }

// Schema is the package's Schema, with the known names where a key holds one.
func (k Known) Schema() ([]byte, error) {
	text, err := json.MarshalIndent(k.schema(), "", "  ")
	return append(text, '\n'), err
}

func (k Known) schema() *jsonschema.Schema {
	reflector := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		Anonymous:                  true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     scalarSchema,
		LookupComment:              comment,
	}
	root := reflector.Reflect(&Config{})
	root.Title = "Configuration of the myriad server"
	complete(root, root.Definitions, reflect.ValueOf(*Default()))
	for name, list := range map[string][]string{"driver": k.Drivers, "model": k.Models, "balance": k.Policies} {
		if property, _ := root.Definitions["Engine"].Properties.Get(name); len(list) > 0 {
			if name == "driver" {
				property.Enum = append(property.Enum, wordAuto)
			}
			for _, word := range list {
				property.Enum = append(property.Enum, word)
			}
		}
	}
	return root
}

// JSONSchemaExtend adds what a route may say together.
func (Route) JSONSchemaExtend(s *jsonschema.Schema) {
	for _, action := range []string{"files", "respond", "redirect", "proxy", "status"} {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{action}})
	}
	s.Not = &jsonschema.Schema{}
	for _, both := range [][]string{{"path", "prefix"}, {"path", "suffix"}, {"prefix", "suffix"}} {
		s.Not.AnyOf = append(s.Not.AnyOf, &jsonschema.Schema{Required: both})
	}
}

// complete adds defaults and bounds to the properties of a mapping, whose value before a file says anything is v.
func complete(s *jsonschema.Schema, all jsonschema.Definitions, v reflect.Value) {
	for _, field := range reflect.VisibleFields(v.Type()) {
		property, ok := s.Properties.Get(keyOf(field))
		if !ok {
			continue
		}
		value, t := v.FieldByIndex(field.Index), field.Type
		if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			if elem := t.Elem(); elem.Kind() == reflect.Struct && !isText(elem) {
				complete(all[elem.Name()], all, defaultOf(elem))
				optional := strings.HasSuffix(field.Tag.Get("yaml"), ",omitempty")
				if t.Kind() == reflect.Slice && !optional {
					property.Default = defaultItems(value)
				}
				if optional {
					property.Title = map[reflect.Kind]string{
						reflect.Pointer: "mapping", reflect.Slice: "list of mappings", reflect.Map: "names and mappings",
					}[t.Kind()]
				}
				continue
			}
		}
		if t.Kind() == reflect.Struct && !isText(t) {
			complete(all[t.Name()], all, value)
			continue
		}
		property.Title = typeText(t)
		setBounds(property, t, field.Tag)
		if len(field.Tag.Get("jsonschema")) == 0 && !strings.HasSuffix(field.Tag.Get("yaml"), ",omitempty") {
			property.Default = defaultText(value)
		}
	}
}

func defaultText(v reflect.Value) any {
	if writer, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := writer.MarshalText(); err == nil {
			return string(text)
		}
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return v.Interface()
}

// defaultItems is a list of mappings, each with the keys alone that it cannot be without.
func defaultItems(list reflect.Value) any {
	items := make([]any, list.Len())
	for i := range items {
		keys := make(map[string]any)
		for _, field := range reflect.VisibleFields(list.Type().Elem()) {
			if field.Tag.Get("jsonschema") == "required" {
				keys[keyOf(field)] = defaultText(list.Index(i).FieldByIndex(field.Index))
			}
		}
		items[i] = keys
	}
	return items
}

// setBounds writes the bounds of a key where a schema has words for them, and else into its description.
func setBounds(s *jsonschema.Schema, t reflect.Type, tag reflect.StructTag) {
	least, bounded := tag.Lookup("min")
	if !bounded {
		return
	}
	most := tag.Get("max")
	if !isText(t) {
		s.Minimum, s.Maximum = json.Number(least), json.Number(most)
	}
	s.Description += " From " + least + " to " + most + "."
	for _, option := range s.AnyOf {
		if option.Type == "integer" && strings.HasPrefix(t.Name(), "Count") {
			option.Minimum, option.Maximum = json.Number(least), json.Number(most)
		}
	}
}

const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	sizePattern     = `^[0-9]+ ?(B|KiB|MiB|GiB|TiB|PiB)?$`
	modePattern     = `^(0o)?[0-7]{1,4}$`
)

// scalarSchema is the schema of a type that is written as one value; nil leaves the type to the reflector.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	pattern := func(p string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: p} }
	integer := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "integer", Minimum: "0"} }
	word := func(w string) *jsonschema.Schema { return &jsonschema.Schema{Const: w} }
	either := func(of ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: of} }
	switch t {
	case reflect.TypeFor[Duration]():
		return pattern(durationPattern)
	case reflect.TypeFor[DurationOrOff]():
		return either(pattern(durationPattern), word(wordOff))
	case reflect.TypeFor[DurationOrUnlimited]():
		return either(pattern(durationPattern), word(wordUnlimited))
	case reflect.TypeFor[Size]():
		return either(integer(), pattern(sizePattern))
	case reflect.TypeFor[SizeOrAuto]():
		return either(integer(), pattern(sizePattern), word(wordAuto))
	case reflect.TypeFor[SizeOrUnlimited]():
		return either(integer(), pattern(sizePattern), word(wordUnlimited))
	case reflect.TypeFor[CountOrAuto]():
		return either(integer(), word(wordAuto))
	case reflect.TypeFor[CountOrOff]():
		return either(integer(), word(wordOff))
	case reflect.TypeFor[FileMode]():
		return either(integer(), pattern(modePattern))
	case reflect.TypeFor[CountOrUnlimited]():
		return either(integer(), word(wordUnlimited))
	case reflect.TypeFor[Address](), reflect.TypeFor[Destination](), reflect.TypeFor[Key](), reflect.TypeFor[IP](),
		reflect.TypeFor[Subnet](), reflect.TypeFor[AutoOrOffOrAddress]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[AutoBool]():
		return &jsonschema.Schema{Enum: []interface{}{string(Auto), true, false}}
	}
	if list, ok := reflect.Zero(t).Interface().(choice); ok {
		s := &jsonschema.Schema{Type: "string"}
		for _, value := range list.Values() {
			s.Enum = append(s.Enum, value)
		}
		return s
	}
	return nil
}

// typeText is the type of a key in words.
func typeText(t reflect.Type) string {
	if list, ok := reflect.Zero(t).Interface().(choice); ok {
		return orList(list.Values())
	}
	switch t.Name() {
	case "FileMode":
		return "file mode"
	case "Address":
		return "address"
	case "int":
		return "number"
	case "float64":
		return "fraction"
	case "string":
		return "text"
	case "bool":
		return "true or false"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + typeText(t.Elem())
	case reflect.Map:
		return "names and values"
	}
	return strings.ToLower(strings.ReplaceAll(t.Name(), "Or", " or "))
}

// comment is the doc comment of a type, or of one of its fields, on one line.
func comment(t reflect.Type, field string) string {
	name := t.Name()
	if field != "" {
		name += "." + field
	}
	return comments()[name]
}

// comments reads the doc comments of the types out of their sources.
var comments = sync.OnceValue(func() map[string]string {
	texts := make(map[string]string)
	set := token.NewFileSet()
	names := []string{"config.go", "listener.go", "route.go", "rate.go", "bus.go", "upstream.go", "proxy.go", "observe.go"}
	for _, name := range names {
		source, err := typeSources.ReadFile(name)
		if err != nil {
			panic("config: " + err.Error()) // the embedding and this list are one screen apart
		}
		file, err := parser.ParseFile(set, name, source, parser.ParseComments)
		if err != nil {
			panic("config: " + err.Error()) // the compiler has read it before
		}
		for _, declaration := range file.Decls {
			if group, ok := declaration.(*ast.GenDecl); ok && group.Tok == token.TYPE {
				commentsOf(group, texts)
			}
		}
	}
	return texts
})

func commentsOf(group *ast.GenDecl, texts map[string]string) {
	for _, spec := range group.Specs {
		named := spec.(*ast.TypeSpec)
		texts[named.Name.Name] = oneLine(group.Doc.Text())
		structure, ok := named.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				texts[named.Name.Name+"."+name.Name] = oneLine(field.Doc.Text())
			}
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
