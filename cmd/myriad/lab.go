package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/myriad-server/myriad/internal/lab"
)

// labCommand is the experiments.
type labCommand struct {
	List   labList   `cmd:"" help:"List the experiments."`
	Run    labRun    `cmd:"" help:"Run experiments, all of them if none is named, and write the report."`
	Report labReport `cmd:"" help:"Write the report of the results that are there."`
	Claims labClaims `cmd:"" help:"Print the table of what the texts claim, with the figures of full runs."`
	Part   labPart   `cmd:"" hidden:"" help:"Play a part of an experiment; run starts it."`
}

type labList struct{}

// Run lists the experiments.
func (labList) Run(c console) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EXPERIMENT\tTEXTS\tIN FULL\tQUESTION")
	var all time.Duration
	for _, e := range lab.All() {
		fmt.Fprintf(w, "%s\t%v\t%v\t%s\n", e.Name, e.Seeds, e.Takes, e.Title)
		all += e.Takes
	}
	fmt.Fprintf(w, "all\t\t%v\t\n", all)
	return w.Flush()
}

type labRun struct {
	Names  []string `arg:"" optional:"" name:"name" help:"Experiments: see myriad lab list."`
	Quick  bool     `help:"Small numbers: that all works, not how fast."`
	Rounds int      `placeholder:"N" help:"Measurements of each kind; 3 if not said, 1 in a quick run."`
	Seed   uint64   `default:"1" help:"Of what is left to chance."`
	Out    string   `default:"lab" placeholder:"DIR" help:"Where results, figures and the report go."`
	Source string   `default:"." placeholder:"DIR" help:"The source of this program, for the examples that are built."`
	Peers  string   `placeholder:"DIR" help:"Results of other servers, for the experiment peers; several: DIR:DIR."`
	Resume bool     `help:"Leave out what has a result of such a run in the folder, with all checks passed."`
}

// Run makes experiments one after the other. One that fails does not keep the others from being made.
func (l *labRun) Run(c console) (err error) {
	runtime.LockOSThread() // what servers inherit is a thread's
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	experiments := lab.All()
	if len(l.Names) > 0 {
		experiments = nil
		for _, name := range l.Names {
			e, err := lab.Find(name)
			if err != nil {
				return usage(err)
			}
			experiments = append(experiments, e)
		}
	}
	if l.Resume {
		var err error
		if experiments, err = l.missing(c, experiments); err != nil {
			return err
		}
	}
	stand, err := l.stand(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stand.Close()) }()
	var failed []error
	for _, e := range experiments {
		r, err := lab.Run(ctx, e, stand)
		failed = append(failed, err)
		if r != nil {
			failed = append(failed, r.Save(l.Out))
			fmt.Fprintf(c.out, "%s: %s (%v): %s\n", r.Name, r.Verdict.Answer,
				time.Duration(r.Took).Round(100*time.Millisecond), r.Verdict.Why)
		} else {
			fmt.Fprintf(c.out, "%s: failed: %v\n", e.Name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	report := labReport{Out: l.Out}
	return errors.Join(append(failed, report.Run(c))...)
}

// missing is the experiments that have no result of such a run yet.
func (l *labRun) missing(c console, experiments []lab.Experiment) ([]lab.Experiment, error) {
	results, err := lab.Load(l.Out)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(experiments, func(e lab.Experiment) bool {
		there := slices.ContainsFunc(results, func(r *lab.Result) bool {
			return r.Name == e.Name && r.Quick == l.Quick && r.Passed()
		})
		if there {
			fmt.Fprintf(c.out, "%s: there already\n", e.Name)
		}
		return there
	}), nil
}

func (l *labRun) stand(c console) (*lab.Stand, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	source, err := filepath.Abs(l.Source)
	if err != nil {
		return nil, err
	}
	rounds := l.Rounds
	if rounds < 1 {
		rounds = 3
		if l.Quick {
			rounds = 1
		}
	}
	began := time.Now()
	s := &lab.Stand{
		Quick: l.Quick, Rounds: rounds, Seed: l.Seed, Program: program, Source: source, Peers: l.Peers,
		Tell: func(format string, v ...any) {
			fmt.Fprintf(c.err, "%6.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, v...))
		},
	}
	if err := s.Open(); err != nil {
		return nil, err
	}
	return s, nil
}

type labPart struct {
	Arguments []string `arg:"" passthrough:""`
}

// Run plays the part.
func (l *labPart) Run(c console) error { return lab.Part(l.Arguments, c.out) }

type labReport struct {
	Out string `default:"lab" placeholder:"DIR" help:"Where the results are, and the report goes."`
}

// Run writes the report.
func (l *labReport) Run(c console) error {
	results, err := lab.Load(l.Out)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("there are no results in %s: run myriad lab run --quick", l.Out)
	}
	for _, r := range results {
		if err := r.Draw(l.Out); err != nil {
			return err
		}
	}
	if err := lab.Report(results, l.Out); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "wrote %s, with %d results\n", filepath.Join(l.Out, lab.ReportName), len(results))
	return nil
}

type labClaims struct {
	Out string `default:"lab" placeholder:"DIR" help:"Where the results are."`
}

// Run prints the table.
func (l *labClaims) Run(c console) error {
	results, err := lab.Load(l.Out)
	if err != nil {
		return err
	}
	text, err := lab.Claims(results)
	if err != nil {
		return fmt.Errorf("%s: %w", l.Out, err)
	}
	_, err = c.out.Write(text)
	return err
}
