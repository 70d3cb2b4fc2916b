package main

import (
	"context"
	"fmt"

	"github.com/myriad-server/myriad/internal/control"
)

type drainCommand struct {
	Admin string `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
}

// Run ends a running server: its workers let their connections finish.
func (k drainCommand) Run(c console) error {
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	var all control.Workers
	if _, err := client.Ask(context.Background(), "POST", "/v1/drain", nil, &all); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d workers drain\n", len(all.Workers))
	return err
}
