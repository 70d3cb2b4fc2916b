package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/control"
)

type reloadCommand struct {
	Admin  string `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	DryRun bool   `help:"Say what would change, and change nothing."`
	JSON   bool   `help:"Print JSON, as the API answers it."`
}

// Run has a running server read its configuration again.
func (k reloadCommand) Run(c console) error {
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	query := url.Values{}
	if k.DryRun {
		query.Set("dry_run", "true")
	}
	var change app.Change
	text, err := client.Ask(context.Background(), "POST", "/v1/reload", query, &change)
	if err != nil {
		return err
	}
	if k.JSON {
		_, err := c.out.Write(text)
		return err
	}
	printChange(c.out, &change, k.DryRun)
	return nil
}

// printChange says what a reload did, or would do.
func printChange(w io.Writer, change *app.Change, preview bool) {
	for _, of := range []struct {
		what  string
		parts []app.Part
	}{{"listener", change.Listeners}, {"upstream", change.Upstreams}} {
		for _, p := range of.parts {
			fmt.Fprintf(w, "%s %s: %s\n", of.what, p.Name, p.Change)
		}
	}
	if change.Routes > 0 {
		fmt.Fprintf(w, "routes: %d changed\n", change.Routes)
	}
	if change.Empty() {
		fmt.Fprintln(w, "no listener, route or upstream is other than before")
	}
	verb := "touched"
	if preview {
		verb = "would touch"
	}
	fmt.Fprintf(w, "%s %d of %s\n", verb, change.Touched, connections(change.Connections))
}

// reload acts on a signal that says that the configuration has changed. What it does is logged by the server.
func reload(server *app.App, log *slog.Logger, s os.Signal) error {
	_, err := server.Again(false)
	switch {
	case errors.Is(err, app.ErrUpgrading):
		log.Warn("the configuration is not read now", "signal", s.String(), "cause", err,
			"fix", "send the signal again when the new process serves, if the configuration has changed")
	case err != nil:
		log.Error("the configuration is as it was", "signal", s.String(), "cause", err,
			"fix", "mend it, try it with myriad check or myriad reload --dry-run, and send the signal again")
	}
	return err
}
