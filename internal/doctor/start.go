package doctor

import (
	"context"
	"log/slog"
	"slices"
)

// LogAtStart runs what takes milliseconds of an examination for a server that starts, and logs what harms: one line for
// each finding from Warning on, with its cause and its fix. A server that is only reached from its own host (local)
// hears nothing about cards. What cannot be read is not the start's to tell; the command does.
func LogAtStart(ctx context.Context, h *Host, local bool, log *slog.Logger) {
	checks := slices.DeleteFunc(Quick(Checks()), func(c Check) bool { return local && c.Needs&NeedsLinks != 0 })
	report, err := Examine(ctx, h, checks, 0)
	if err != nil {
		return // the server is ending
	}
	for _, f := range report.Findings {
		if f.Harm >= Warning {
			log.Warn(f.Title, "check", f.Check, "harm", f.Harm.String(), "cause", f.Cause, "fix", f.Fix)
		}
	}
}
