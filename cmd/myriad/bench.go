package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

type benchCommand struct {
	Target   string `arg:"" optional:"" help:"http://HOST:PORT/PATH, http+unix:SOCKET:/PATH, tcp://, udp:// or unix:SOCKET."`
	Scenario string `help:"A file of these settings; flags win over it." placeholder:"FILE"`
	JSON     string `help:"Write the report as JSON, too; - is the standard output, instead." placeholder:"FILE"`
	HTML     string `help:"Write the report as a page with figures, too." placeholder:"FILE"`
	Quiet    bool   `short:"q" help:"Show no progress."`
	Strict   bool   `help:"End with exit code 1 if any request failed or the report has a warning."`

	load.Settings `embed:""`
}

// Run puts the target under load and prints what came of it.
func (b benchCommand) Run(c console) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	plan, err := b.plan(ctx)
	if err != nil {
		return usage(err)
	}
	if err := b.writable(); err != nil { // before the run, which may take long
		return err
	}
	var progress func(load.Live)
	if terminal(c.err) && !b.Quiet {
		progress = func(l load.Live) { fmt.Fprintf(c.err, "\r\x1b[K%s", progressLine(l)) }
	}
	report, err := load.Run(ctx, plan, progress)
	if progress != nil {
		fmt.Fprint(c.err, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	report.Program = "myriad " + version
	if err := b.write(c, report); err != nil {
		return err
	}
	if b.Strict && (report.Requests.Failed > 0 || len(report.Warnings) > 0) {
		return fmt.Errorf("%d requests failed, and there are %d warnings", report.Requests.Failed, len(report.Warnings))
	}
	return nil
}

func (b benchCommand) plan(ctx context.Context) (load.Plan, error) {
	if b.Target != "" {
		b.Settings.Target = &b.Target
	}
	var scenario *load.Scenario
	if b.Scenario != "" {
		var err error
		if scenario, err = load.ReadScenario(b.Scenario); err != nil {
			return load.Plan{}, err
		}
	}
	return load.PlanOf(ctx, b.Settings, scenario)
}

// writable makes the files of the report.
func (b benchCommand) writable() error {
	nothing := func(io.Writer) error { return nil }
	name := b.JSON
	if name == "-" {
		name = ""
	}
	return errors.Join(toFile(name, nothing), toFile(b.HTML, nothing))
}

// write writes the report in all the forms that were asked for.
func (b benchCommand) write(c console, report *load.Report) error {
	encode := func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	if b.JSON == "-" {
		return errors.Join(encode(c.out), toFile(b.HTML, report.HTML))
	}
	return errors.Join(report.Text(c.out), toFile(b.JSON, encode), toFile(b.HTML, report.HTML))
}

// toFile writes a file; an empty name is none.
func toFile(name string, write func(io.Writer) error) (err error) {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progressLine is how far a run is.
func progressLine(l load.Live) string {
	if l.Elapsed < 0 {
		return fmt.Sprintf("%s: %d of %d connections", l.Phase, l.Connections, l.Wanted)
	}
	const width = 20
	done := min(max(float64(l.Elapsed)/float64(max(l.Length, 1)), 0), 1)
	bar := strings.Repeat("#", int(done*width)) + strings.Repeat(".", width-int(done*width))
	line := fmt.Sprintf("%s [%s] %s left, %.0f answers a second, %d answered, %d failed, %d connections", l.Phase, bar,
		max(l.Length-l.Elapsed, 0).Round(time.Second), l.PerSecond, l.Good, l.Failed, l.Connections)
	if l.Dropped > 0 {
		line += fmt.Sprintf(", %d dropped", l.Dropped)
	}
	return line
}
