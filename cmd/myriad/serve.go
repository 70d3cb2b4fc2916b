package main

import (
	"errors"

	"github.com/myriad-server/myriad/internal/config"
)

type serveCommand struct {
	Dir string `arg:"" optional:"" help:"The folder to serve."`
	serverFlags
	Respond *string `placeholder:"TEXT" help:"Answer everything with a text."`
}

const nothingToServe = `nothing to serve: name a folder, a text or a configuration, such as
    myriad serve ./public
    myriad serve --listen 127.0.0.1:8080 --respond "Hello, World!"
    myriad serve --config myriad.yaml`

// Run serves until a signal.
func (s *serveCommand) Run(c console) error {
	overrides, err := s.overrides()
	if err != nil {
		return usage(err)
	}
	return s.run(c, overrides)
}

// overrides is what the flags of this command alone say.
func (s *serveCommand) overrides() ([]config.Override, error) {
	overrides := s.listeners("", config.HTTP, "")
	switch {
	case s.Dir != "" && s.Respond != nil:
		return nil, errors.New("a folder and --respond would both answer everything: leave one of them out")
	case s.Dir != "":
		route := []config.Route{config.FilesRoute(s.Dir)}
		overrides = append(overrides, config.Override{Flag: s.Dir, Path: "routes", Value: route})
	case s.Respond != nil:
		route := []config.Route{config.RespondRoute(*s.Respond)}
		overrides = append(overrides, config.Override{Flag: "--respond", Path: "routes", Value: route})
	case s.Config == "" && !s.sets("routes", "listeners"):
		return nil, errors.New(nothingToServe)
	}
	return overrides, nil
}
