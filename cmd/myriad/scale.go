package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/myriad-server/myriad/internal/control"
)

type scaleCommand struct {
	Workers int    `arg:"" help:"How many worker processes there are to be."`
	Admin   string `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
}

// Run changes the number of workers of a running server.
func (k scaleCommand) Run(c console) error {
	if k.Workers < 1 {
		return usage(fmt.Errorf("%d workers are too few; 1 at least", k.Workers))
	}
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	var all control.Workers
	query := url.Values{"workers": {strconv.Itoa(k.Workers)}}
	if _, err := client.Ask(context.Background(), "POST", "/v1/scale", query, &all); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "there are to be %d workers; %d are ready\n", all.Desired, all.Ready)
	return err
}
