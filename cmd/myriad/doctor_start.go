package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/internal/doctor"
)

// adviseAtStart logs what this host denies the server, as far as it matters for its listeners. It takes some
// milliseconds, which nobody has to wait for.
func adviseAtStart(c *config.Config, log *slog.Logger) {
	go doctor.LogAtStart(context.Background(), doctor.This(os.Getpid()), servesOwnHost(c), log)
}

// servesOwnHost tells whether nobody can reach the listeners but programs of this host.
func servesOwnHost(c *config.Config) bool {
	for _, l := range c.Listeners {
		if l.Address.Network != config.Unix && !l.Address.IP.IsLoopback() {
			return false
		}
	}
	return true
}
