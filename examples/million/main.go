// Command million holds a million established connections in one server process that may open 20,000 descriptors, and
// measures what they cost: memory, and the requests of a few active ones beside them.
//
//	go run ./examples/million             # a million; some 10 GiB of memory, a few minutes
//	go run ./examples/million -n 100000
//
// It builds the ordinary server, starts it twice with the same command line, fills one of the two, asks every
// connection once more, and prints a table and a verdict for each criterion. The exit code is 0 if all were met, 1 if
// one was not, 2 if the experiment could not be made. docs/million.md explains the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sys"
)

// options is the command line.
type options struct {
	Connections int           `json:"connections"`
	Baseline    int           `json:"baseline_connections"`
	Active      int           `json:"active_connections"`
	Rounds      int           `json:"rounds"`
	Length      time.Duration `json:"round_nanoseconds"`
	Ratio       float64       `json:"ratio_limit"`
	Memory      int64         `json:"memory_limit_bytes"`
	Rate        float64       `json:"connecting_per_second_least"`
	Upgrade     bool          `json:"upgrade"`
	binary, out string
	within      time.Duration
}

const (
	exitMissed     = 1
	exitImpossible = 2
)

func (o *options) possible() bool {
	return o.Active >= 1 && o.Active <= crowd.Window && o.Baseline >= o.Active && o.Baseline <= crowd.SlotsMost &&
		o.Connections >= 2*o.Baseline && o.Rounds >= 1 && o.Length > 0
}

func main() {
	var o options
	var mebibytes int64
	flag.IntVar(&o.Connections, "n", 1_000_000, "connections to hold")
	flag.IntVar(&o.Baseline, "baseline", 1000, "idle connections of the server that it is compared with")
	flag.IntVar(&o.Active, "active", 64, "connections that are active beside them")
	flag.IntVar(&o.Rounds, "rounds", 7, "measurements of each kind")
	flag.DurationVar(&o.Length, "length", 2*time.Second, "of one measurement")
	flag.Float64Var(&o.Ratio, "ratio", 1.1, "most that a request may cost, compared with a server that holds few")
	flag.Int64Var(&mebibytes, "memory", 256, "most memory of the server, in MiB")
	flag.Float64Var(&o.Rate, "rate", 0, "least connections a second while filling; 0: not judged")
	flag.BoolVar(&o.Upgrade, "upgrade", false, "have the full server go on in a new process, before all are asked again")
	flag.StringVar(&o.binary, "server", "", "the server's binary; built if empty")
	flag.StringVar(&o.out, "out", "out", "the folder for million.txt and million.json")
	flag.DurationVar(&o.within, "within", 10*time.Minute, "the longest that all of it may take")
	flag.Parse()
	o.Memory = mebibytes << 20
	if flag.NArg() > 0 || !o.possible() {
		fmt.Fprintf(os.Stderr, "million: needs 1 <= active <= baseline <= n/2, active <= %d, baseline <= %d, rounds >= 1\n",
			crowd.Window, crowd.SlotsMost)
		os.Exit(exitImpossible)
	}
	// Rings belong to the thread that made them, and a thread's processors are inherited by what it starts.
	runtime.LockOSThread()
	r, err := run(o)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "million:", err)
		os.Exit(exitImpossible)
	case !r.Passed:
		os.Exit(exitMissed)
	}
}

// run makes the whole experiment and writes its report.
func run(o options) (*report, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.within, fmt.Errorf("all of it took longer than %v", o.within))
	defer cancel()
	begin, err := examine()
	if err != nil {
		return nil, err
	}
	if err := begin.enough(o.Connections); err != nil {
		return nil, err
	}
	progress("%s of memory are available, some %s will be used, most of it by the kernel",
		size(begin.Available), size(int64(o.Connections)*pairBytes))
	if err := limit(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "million-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.binary == "" {
		progress("building the server")
		if o.binary, err = build(ctx, dir); err != nil {
			return nil, err
		}
	}
	e := &experiment{options: o, dir: dir, report: newReport(o, begin)}
	err = e.perform(ctx)
	e.end(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = cause
		}
		return nil, err
	}
	e.report.judge()
	return e.report, e.report.write(o.out)
}

// limit gives this program, and so the servers, the descriptors that the experiment is about.
func limit() error {
	_, hard, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		return err
	}
	n := min(hard, descriptors)
	return sys.SetLimit(sys.LimitDescriptors, n, n)
}

var started = time.Now()

// progress is a line for whoever waits.
func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, arguments...))
}

func (r *report) write(dir string) error {
	text, data, err := r.render()
	if err != nil {
		return err
	}
	fmt.Print(text)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "million.txt"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "million.json"), data, 0o644)
}
