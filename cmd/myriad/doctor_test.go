package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/doctor"
)

// reports is where a watch writes to; enough ends it.
type reports struct {
	text   strings.Builder
	left   int
	enough context.CancelFunc
}

func (r *reports) Write(p []byte) (int, error) {
	if r.left--; r.left == 0 {
		r.enough()
	}
	return r.text.Write(p)
}

// TestDoctorWatch: it tells what came and what went, and ends in order when it is told to.
func TestDoctorWatch(t *testing.T) {
	for _, test := range []struct {
		name string
		json bool
		want []string
	}{
		{"text", false, []string{"WARNING  a leak of 1", "new:\nWARNING  little room", "gone: a leak of 2 (fake)"}},
		{"json", true, []string{`"title":"a leak of 1"`, `"title":"a leak of 2"`, `"title":"little room"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			round := 0
			fake := doctor.Check{Name: "fake", Run: func(*doctor.Host) ([]doctor.Finding, error) {
				titles := []string{"a leak of 1", "a leak of 2", "little room", "little room"}
				round++
				return []doctor.Finding{{Harm: doctor.Warning, Title: titles[min(round, len(titles))-1]}}, nil
			}}
			ctx, enough := context.WithTimeout(context.Background(), time.Minute)
			defer enough()
			// The text of the second round is empty, as a number has changed and nothing else.
			out := &reports{left: 4, enough: enough}
			d := &doctorCommand{Interval: time.Millisecond, JSON: test.json}
			if err := d.watch(ctx, console{out, out}, doctor.This(0), []doctor.Check{fake}); err != nil {
				t.Fatal(err)
			}
			if ctx.Err() != context.Canceled {
				t.Fatalf("not ended by us: %v\n%s", ctx.Err(), out.text.String())
			}
			for _, want := range test.want {
				if !strings.Contains(out.text.String(), want) {
					t.Errorf("not told: %q\n%s", want, out.text.String())
				}
			}
			for line := range strings.Lines(out.text.String()) {
				if test.json && !json.Valid([]byte(line)) {
					t.Errorf("no JSON: %s", line)
				}
			}
		})
	}
}
