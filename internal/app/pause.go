package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/myriad-server/myriad/internal/listen"
)

// pauses is a log that knows where the limit of connections comes from. The engine is given a number, and can only say
// that it was reached; where nobody wrote the number, the mend is that of the wall it was derived from.
type pauses struct {
	slog.Handler
	limiter Wall
}

// Handle passes a message on, with the cause and the mend of our own where accepting paused at the limit.
func (p pauses) Handle(ctx context.Context, r slog.Record) error {
	atLimit := false
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		atLimit = ok && errors.Is(err, listen.ErrLimit)
		return !atLimit
	})
	if !atLimit {
		return p.Handler.Handle(ctx, r)
	}
	told := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "mend" {
			told.AddAttrs(a)
		}
		return true
	})
	told.AddAttrs(slog.String("wall", p.limiter.Name), slog.String("why", p.limiter.Why),
		slog.String("mend", p.limiter.Fix))
	return p.Handler.Handle(ctx, told)
}

// WithAttrs is a handler whose messages have more attributes.
func (p pauses) WithAttrs(attributes []slog.Attr) slog.Handler {
	return pauses{p.Handler.WithAttrs(attributes), p.limiter}
}

// WithGroup is a handler whose messages have their attributes in a group.
func (p pauses) WithGroup(name string) slog.Handler {
	return pauses{p.Handler.WithGroup(name), p.limiter}
}
