// Package doctor looks for what a host will deny a server that holds many connections, before production finds it:
// limits, queues, ports, memory, and sockets that are left behind. It only reads; what it would change is in the
// settings of its findings.
//
// Host is where facts come from, Check is one question about them, Finding is an answer that somebody should know:
// what was found, by which evidence, from which cause, how it is mended, and how to see that it is. A new check is a
// variable in the file of its theme and a line in Checks. A check that cannot read a fact returns the error, and the
// report says so as a note: what was not looked at is never counted as well.
//
// # JSON
//
// Report.JSON writes one object; keys are only ever added:
//
//	time      when the examination ended, RFC 3339
//	pid       the process that was asked about, absent if none was
//	worst     the harm of the worst finding: "info", "warning", "harm" or "outage"; "" without findings
//	findings  sorted by harm, the worst first; of each:
//	  check     the name of the check
//	  harm      as above
//	  title     one line
//	  evidence  what was read, a line each
//	  cause     why it is so
//	  fix       the command, or what to do where no command does it
//	  better    what would mend it at its root, if anything
//	  recheck   the command that shows whether it is mended
//	  settings  what to change, if the fix is that: key, have and want. A key with a dot is a sysctl(8); one that
//	            begins with "Limit" is a directive of systemd.exec(5)
//	notes     the checks that could not tell, with why
//	well      the names of the checks that found nothing
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Harm is how bad it is if a finding stays as it is.
type Harm uint8

const (
	// Info is worth knowing: nothing suffers.
	Info Harm = iota
	// Warning is a limit that will be met, or a setting that costs something under load.
	Warning
	// Hurting means that connections or speed are being lost.
	Hurting
	// Outage means that new connections are, or are about to be, refused.
	Outage
)

var harms = [...]string{Info: "info", Warning: "warning", Hurting: "harm", Outage: "outage"}

// String is the word for a harm.
func (h Harm) String() string { return harms[h] }

// MarshalText makes a harm a word in JSON.
func (h Harm) MarshalText() ([]byte, error) { return []byte(harms[h]), nil }

// UnmarshalText reads the word.
func (h *Harm) UnmarshalText(text []byte) error {
	i := slices.Index(harms[:], string(text))
	if i < 0 {
		return fmt.Errorf("no harm is called %q", text)
	}
	*h = Harm(i)
	return nil
}

// Setting is a value to change. Key is the name of a sysctl with dots (net.core.somaxconn) or a directive of
// systemd.exec(5) (LimitNOFILE). Have and Want are written as the kernel shows them; values of several numbers have one
// space between.
type Setting struct {
	Key  string `json:"key"`
	Have string `json:"have"`
	Want string `json:"want"`
}

// Finding is something that somebody should know. Check is filled in by Examine.
type Finding struct {
	Check string `json:"check"`
	Harm  Harm   `json:"harm"`
	// Title is one line, without a full stop.
	Title string `json:"title"`
	// Evidence is what was read, a line each, with the name of its source.
	Evidence []string `json:"evidence,omitempty"`
	// Cause says why it is so, Fix is an exact command (or a sentence, where no command mends it), Better what would mend
	// it at its root, if that is more than a command, and Recheck a command that shows whether it is mended.
	Cause   string `json:"cause"`
	Fix     string `json:"fix"`
	Better  string `json:"better,omitempty"`
	Recheck string `json:"recheck"`
	// Settings are what Fix changes, if that is all it does.
	Settings []Setting `json:"settings,omitempty"`
}

// Need is what a check asks of an examination; they are added up.
type Need uint8

const (
	// NeedsProcess is for checks of one process; without Host.PID they are passed over, and the report says so.
	NeedsProcess Need = 1 << iota
	// NeedsRates is for checks of counters that grow: Examine takes two samples with time between them.
	NeedsRates
	// NeedsSockets is for checks that list the sockets of the host, which takes about a second for a million.
	NeedsSockets
	// NeedsLinks is for checks of links that lead out of the host: who serves this host alone can do without.
	NeedsLinks
)

// Check is one question about a host.
type Check struct {
	// Name is in the form of a command: accept-queue.
	Name string
	// About is a paragraph or two for docs/tuning.md: what is looked at, why it matters, what to do.
	About string
	// Needs is what it asks of the examination.
	Needs Need
	// Run answers with nothing if all is well. An error says which fact could not be read, and what was found until
	// then counts nevertheless.
	Run func(*Host) ([]Finding, error)
}

// Note is a check that could not tell.
type Note struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

// Report is the outcome of an examination.
type Report struct {
	Time     time.Time `json:"time"`
	PID      int       `json:"pid,omitempty"`
	Worst    string    `json:"worst"`
	Findings []Finding `json:"findings"`
	Notes    []Note    `json:"notes"`
	Well     []string  `json:"well"`
}

// Examine runs checks. If one of them needs rates and the host has no first sample yet, it takes one and waits for
// interval; an interval of 0 judges such counters since the host was started. It ends early with the context's error.
func Examine(ctx context.Context, h *Host, checks []Check, interval time.Duration) (*Report, error) {
	rates := slices.ContainsFunc(checks, func(c Check) bool { return c.Needs&NeedsRates != 0 })
	if rates && interval > 0 && !h.sampled() {
		h.Sample()
		timer := time.NewTimer(interval)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
	h.Refresh()
	r := &Report{PID: h.PID, Findings: []Finding{}, Notes: []Note{}, Well: []string{}}
	for _, c := range checks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.run(h, c)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(b.Harm, a.Harm) })
	if len(r.Findings) > 0 {
		r.Worst = r.Findings[0].Harm.String()
	}
	r.Time = h.Now()
	return r, nil
}

func (r *Report) run(h *Host, c Check) {
	if c.Needs&NeedsProcess != 0 && h.PID == 0 {
		r.Notes = append(r.Notes, Note{c.Name, "it looks at one process: name it with --pid"})
		return
	}
	findings, err := c.Run(h)
	for i := range findings {
		findings[i].Check = c.Name
	}
	r.Findings = append(r.Findings, findings...)
	switch {
	case err != nil:
		r.Notes = append(r.Notes, Note{c.Name, err.Error()})
	case len(findings) == 0:
		r.Well = append(r.Well, c.Name)
	}
}
