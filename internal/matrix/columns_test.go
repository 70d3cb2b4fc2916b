package matrix

import (
	"slices"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/internal/standard"
)

// TestColumnsAreComplete wants every model beside every driver, run or with a reason.
func TestColumnsAreComplete(t *testing.T) {
	var names []string
	for _, c := range Columns() {
		if slices.Contains(names, c.Name) {
			t.Errorf("%s stands there twice", c.Name)
		}
		if strings.ContainsAny(c.Name, "_/") {
			t.Errorf("the name %q cannot be told from that of a test", c.Name)
		}
		names = append(names, c.Name)
	}
	for _, m := range standard.Models() {
		for _, f := range standard.Drivers() {
			if !slices.Contains(names, m.Name()+" "+f.Name) {
				t.Errorf("%s with %s is missing", m.Name(), f.Name)
			}
		}
		if own := m.Driver(); own != "" && (!slices.Contains(names, m.Name()+" "+own) || ways[own] == "") {
			t.Errorf("%s by %s is missing", m.Name(), own)
		}
	}
	for _, v := range variants {
		if !slices.Contains(names, "reactor "+v.driver+" "+v.name) {
			t.Errorf("the variant %s of %s has no column", v.name, v.driver)
		}
	}
	for _, m := range processModels {
		for _, f := range standard.Drivers() {
			if !slices.Contains(names, m+" "+f.Name) {
				t.Errorf("%s with %s is missing", m, f.Name)
			}
		}
	}
	for _, name := range short {
		if !slices.Contains(names, name) {
			t.Errorf("the short run names %s", name)
		}
	}
}

func TestHolesHaveReasons(t *testing.T) {
	for _, c := range Columns() {
		brings := c.Model.Driver() != ""
		if c.Processes != "" {
			if slices.Contains(lastingDrivers, c.Driver.Name) != (c.Hole == "") {
				t.Errorf("%s: %q", c.Name, c.Hole)
			}
			continue
		}
		if hole := brings && !strings.HasSuffix(c.Name, " "+c.Model.Driver()); hole != (c.Hole != "") {
			t.Errorf("%s: %q", c.Name, c.Hole)
		}
		if !brings && c.Driver.Open == nil {
			t.Errorf("%s has no driver", c.Name)
		}
	}
}
