package config

import (
	"fmt"
	"reflect"
	"slices"
)

// engineUse says which engine keys have an effect where: under models with event loops, under one model, or under one
// driver. Keys that are not here have one everywhere; engine.loops is refused under a model without loops.
var engineUse = []struct {
	key           string
	looped        bool
	model, driver string
}{
	{key: "driver", looped: true},
	{key: "accept", looped: true},
	{key: "balance", looped: true},
	{key: "workers", model: "workpool"},
	{key: "queue", model: "workpool"},
	{key: "direct", driver: "uring"},
	{key: "sweep", driver: "sweep"},
	{key: "trigger", driver: "epoll"},
	{key: "signal", driver: "rtsig"},
}

// leavesOpen are the values of engine keys that ask for nothing which a model or a driver could fail to give.
var leavesOpen = []string{"auto", "never"}

// Unused is a warning for each engine key that was said and has no effect under the model and the driver that were
// chosen. A model without event loops has no driver to choose: its name is then empty.
func (c *Config) Unused(driver string) []Problem {
	if c.source == nil {
		return nil // built in code: nothing was said
	}
	var found Problems
	for _, use := range engineUse {
		path := "engine." + use.key
		field, _ := fieldOf(reflect.TypeFor[Engine](), use.key)
		value := textOf(reflect.ValueOf(c.Engine).FieldByIndex(field.Index))
		if !c.source.said(path) || slices.Contains(leavesOpen, value) {
			continue
		}
		var message string
		mend := "leave it out, or choose "
		switch {
		case use.looped && driver == "":
			message, mend = fmt.Sprintf("the %s model has no event loops", c.Engine.Model), mend+"engine.model: reactor"
		case use.model != "" && use.model != c.Engine.Model:
			message, mend = fmt.Sprintf("it is for the %s model", use.model), mend+"engine.model: "+use.model
		case use.driver != "" && driver == "":
			message = fmt.Sprintf("it is for the %s driver, and the %s model has none", use.driver, c.Engine.Model)
			mend += "engine.model: reactor"
		case use.driver != "" && use.driver != driver:
			message, mend = fmt.Sprintf("it is for the %s driver", use.driver), mend+"engine.driver: "+use.driver
		default:
			continue
		}
		problem := Problem{Path: path, Message: fmt.Sprintf("%s is not used: %s", value, message), Mend: mend}
		found = append(found, c.source.locate(problem))
	}
	found.sort()
	return found
}
