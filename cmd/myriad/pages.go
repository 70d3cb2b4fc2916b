package main

import (
	"os"

	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/dash"
	"github.com/myriad-server/myriad/internal/doctor"
)

// mountPages adds to the admin API what is built above it: the dashboard, and the doctor about this very process.
func mountPages(admin *control.Server) {
	for _, pattern := range dash.Patterns {
		admin.Mount(pattern, "the dashboard", dash.Handler())
	}
	const about = "what is wrong with this host and this process; takes a second"
	admin.Mount("GET /v1/doctor", about, doctor.Handler(os.Getpid()))
}
