package main

import (
	"bytes"

	"github.com/myriad-server/myriad/internal/app"
)

type schemaCommand struct{}

// Run prints the schema with the names that this program knows.
func (schemaCommand) Run(c console) error {
	text, err := app.Known().Schema()
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(bytes.TrimRight(text, "\n"), '\n'))
	return err
}
