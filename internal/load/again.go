package load

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// secret are the header fields whose values are not for those who read a report.
var secret = []string{"authorization", "proxy-authorization", "cookie", "x-api-key"}

// withheld stands for the value of such a field.
const withheld = "(withheld)"

// Again is what was said, as a scenario file with which the same run can be made again. Values of header fields that
// let somebody in are left out.
func (s Settings) Again() (string, error) {
	var said yaml.MapSlice
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		field := v.Field(i)
		if field.IsNil() {
			continue
		}
		value := field.Interface()
		switch known := value.(type) {
		case *time.Duration:
			value = known.String()
		case []string:
			if value = known; v.Type().Field(i).Name == "Headers" {
				value = masked(known)
			}
		}
		said = append(said, yaml.MapItem{Key: v.Type().Field(i).Tag.Get("yaml"), Value: value})
	}
	text, err := yaml.Marshal(said)
	return string(text), err
}

// masked is header fields without what is secret.
func masked(headers []string) []string {
	headers = slices.Clone(headers)
	for i, line := range headers {
		name, _, _ := strings.Cut(line, ":")
		if slices.Contains(secret, strings.ToLower(strings.TrimSpace(name))) {
			headers[i] = name + ": " + withheld
		}
	}
	return headers
}
