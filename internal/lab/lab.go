// Package lab runs experiments: each takes a claim of the five texts that this project comes from, starts the servers
// that the claim is about as processes of their own on a processor of their own, measures them in rounds whose order
// rotates, and says whether the claim holds today.
//
// A quick run makes the same steps with small numbers. It checks that the figures are there and that their sums agree,
// and never how fast anything was: its verdicts are printed, and mean nothing on a busy machine.
package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Experiment is the description of one experiment.
type Experiment struct {
	Name string
	// Title is the question in a few words.
	Title string
	// Seeds are the numbers of the texts that make the claim.
	Seeds []string
	// Claim is what they say, in English.
	Claim string
	// Varied is what is different between the measurements.
	Varied string
	// Method is what is started and done, and what is counted by whom.
	Method string
	// Takes is how long a full run of three rounds takes, on two processors and roughly.
	Takes time.Duration
	// Quick and Full are the longest that a run of either kind may take.
	Quick, Full time.Duration
	// measure fills a result with tables.
	measure func(ctx context.Context, s *Stand, r *Result) error
	// judge computes the verdict from the tables.
	judge func(r *Result) Verdict
}

const (
	second = time.Second
	minute = time.Minute

	// quickest is the longest that one may take in small. It takes a few seconds; the rest is for a machine that does
	// everything at once.
	quickest = 2 * minute
)

// All returns every experiment, in the order in which they are run.
func All() []Experiment {
	return []Experiment{
		dispatch(), models(), idle(), unix(), keepAlive(), pool(), buffers(), zeroCopy(), courts(), stale(), idleTimeout(),
		generators(), peers(),
	}
}

// Find returns an experiment by its name.
func Find(name string) (Experiment, error) {
	var names []string
	for _, e := range All() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Experiment{}, fmt.Errorf("there is no experiment %q; there are %v", name, names)
}

// Run makes one experiment on a stand, within its time. The result is complete when the error is nil: every check that
// failed is part of the error, and the result is returned beside it.
func Run(ctx context.Context, e Experiment, s *Stand) (*Result, error) {
	within := e.Full
	if s.Quick {
		within = e.Quick
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%s took longer than %v", e.Name, within))
	defer cancel()
	s.strains = strains{}
	r := newResult(e, s)
	began := time.Now()
	err := e.measure(ctx, s, r)
	if cause := context.Cause(ctx); err != nil && cause != nil && ctx.Err() != nil {
		err = errors.Join(cause, err)
	}
	err = errors.Join(err, s.endAll())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	s.strains.confess(r)
	r.finish()
	r.Took = Duration(time.Since(began))
	r.Verdict = e.judge(r)
	err = r.failures()
	return r, err
}
