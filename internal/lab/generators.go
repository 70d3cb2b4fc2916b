package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

func generators() Experiment {
	return Experiment{
		Name: "generators", Title: "Do load generators show the same of the same server?",
		Seeds:  []string{"004"},
		Claim:  "siege before and after a change tells what the change has brought: requests a second.",
		Varied: "the generator: the one of this project, wrk, ab and siege; with a schedule (an open loop) or without",
		Method: "Each generator is a process of its own on the processor of the load, one after the other, with one thread " +
			"where it can be said. First 64 connections to a server that takes 40 ms for an answer: all of them should find " +
			"the same rate. Then a server that is stopped (SIGSTOP) for a second of six: who shows it? wrk adds to its " +
			"percentiles, after the run, what it reckons to have missed; ab tells whole milliseconds; siege tells no " +
			"percentiles and is left out. Last the processor time that the kernel counts for the generator's process, " +
			"divided by the answers, against a server with one loop.",
		Takes: 160 * second, Quick: quickest, Full: 10 * minute, measure: measureGenerators, judge: judgeGenerators,
	}
}

// The tables of generators.
const (
	rateTable  = "a server that takes 40 ms"
	stallTable = "a server that stands still"
	costTable  = "processor time of the generator"
)

// The generator of this project, and what is added to its name when it follows a schedule.
const (
	ours     = "myriad bench"
	openLoop = ", open loop"
)

// generatorSizes is how long each generator is at work in each part, and how long the server stands still.
type generatorSizes struct {
	rate, stall, still, cost time.Duration
	due                      int // a second, in the open loop
}

func measureGenerators(ctx context.Context, s *Stand, r *Result) error {
	sizes := generatorSizes{rate: 4 * second, stall: 6 * second, still: second, cost: 3 * second, due: 5000}
	if s.Quick {
		sizes = generatorSizes{rate: second, stall: 2 * second, still: second / 2, cost: second, due: 500}
	}
	var tools []tool
	for _, t := range allTools(s) {
		if _, err := exec.LookPath(t.program); err != nil {
			r.note("%s is not installed and was left out.", t.name)
			continue
		}
		tools = append(tools, t)
	}
	for _, part := range []func(context.Context, *Stand, *Result, []tool, generatorSizes) error{
		measureRates, measureStall, measureCost,
	} {
		if err := part(ctx, s, r, tools, sizes); err != nil {
			return err
		}
	}
	return nil
}

// withPart is the tools that take part in something.
func withPart(tools []tool, which func(tool) bool) (some []tool) {
	for _, t := range tools {
		if which(t) {
			some = append(some, t)
		}
	}
	return some
}

func measureRates(ctx context.Context, s *Stand, r *Result, tools []tool, sizes generatorSizes) error {
	t := r.table(rateTable, []string{"generator"}, Column{"rate", "answers/s"}, Column{"answers", "requests"})
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := s.start(ctx, spec{name: "upstream", address: address, command: []string{
		s.Program, "lab", "part", "upstream", address, strconv.Itoa(never), "40",
	}})
	if err != nil {
		return err
	}
	tools = withPart(tools, func(t tool) bool { return !t.scheduled })
	for round := range s.Rounds {
		for _, i := range rotated(len(tools), round) {
			h, err := s.generate(ctx, tools[i], job{address: address, connections: active, length: sizes.rate})
			if err != nil {
				return err
			}
			t.add([]string{tools[i].name}, h.perSecond, h.answers)
			r.check(h.answers > 0 && h.failed == 0, "%s: %v answers, and %v failures", tools[i].name, h.answers, h.failed)
		}
	}
	r.draw(Figure{Title: "64 connections, 40 ms an answer", Table: t.Name, Column: "rate", Over: "generator", Names: true})
	return s.end(p)
}

func measureStall(ctx context.Context, s *Stand, r *Result, tools []tool, sizes generatorSizes) error {
	t := r.table(stallTable, []string{"generator"}, Column{"p99", "ms"}, Column{"p99.9", "ms"}, Column{"longest", "ms"},
		Column{"answers", "requests"})
	tools = withPart(tools, func(t tool) bool { return t.tails })
	for round := range s.Rounds {
		for _, i := range rotated(len(tools), round) {
			p, err := s.serve(ctx, "hello", 0, "--model", "reactor", "--loops", "1")
			if err != nil {
				return err
			}
			on := make(chan struct{})
			stop := time.AfterFunc((sizes.stall-sizes.still)/2, func() {
				defer close(on)
				_ = p.command.Process.Signal(syscall.SIGSTOP)
				time.Sleep(sizes.still) // this is what is measured
				_ = p.command.Process.Signal(syscall.SIGCONT)
			})
			h, err := s.generate(ctx, tools[i], job{
				address: p.address, connections: active, length: sizes.stall, due: sizes.due,
			})
			if !stop.Stop() {
				<-on
			}
			if err != nil {
				return err
			}
			t.add([]string{tools[i].name}, h.p99, h.p999, h.longest, h.answers)
			still := milliseconds(sizes.still)
			r.check(h.answers > 0 && (!tools[i].scheduled || h.longest > 0.9*still), "%s: a server that stood still for %v ms "+
				"kept a request waiting for %.0f ms", tools[i].name, still, h.longest)
			if err := s.end(p); err != nil {
				return err
			}
		}
	}
	r.draw(Figure{
		Title: fmt.Sprintf("A server stands still for %v of %v: the 99.9th percentile", sizes.still, sizes.stall),
		Table: t.Name, Column: "p99.9", Over: "generator", Names: true,
	})
	return nil
}

func measureCost(ctx context.Context, s *Stand, r *Result, tools []tool, sizes generatorSizes) error {
	t := r.table(costTable, []string{"generator", "connections"}, Column{"CPU per answer", "us"},
		Column{"rate", "answers/s"})
	p, err := s.serve(ctx, "hello", 0, "--model", "reactor", "--loops", "1")
	if err != nil {
		return err
	}
	tools = withPart(tools, func(t tool) bool { return !t.scheduled && t.tails }) // siege is limited to 255 connections
	for round := range s.Rounds {
		for _, n := range []int{active, 512} {
			for _, i := range rotated(len(tools), round) {
				h, err := s.generate(ctx, tools[i], job{address: p.address, connections: n, length: sizes.cost})
				if err != nil {
					return err
				}
				t.add([]string{tools[i].name, strconv.Itoa(n)}, h.cpu, h.perSecond)
			}
		}
	}
	r.draw(Figure{
		Title: "Processor time of the generator for an answer", Table: t.Name, Column: "CPU per answer", Line: "generator",
		Over: "connections", Names: true,
	})
	return s.end(p)
}

// agreement is how far apart the rates of two generators may be that agree.
const agreement = 0.02

func judgeGenerators(r *Result) Verdict {
	rates, stalls, costs := r.find(rateTable), r.find(stallTable), r.find(costTable)
	our := rates.median("rate", ours)
	agree, why := true, fmt.Sprintf("To a server that takes 40 ms %s makes %.0f requests a second", ours, our)
	for _, row := range rates.Rows {
		if row.Key[0] != ours {
			off := row.Cells[0].Median/our - 1
			why += fmt.Sprintf(", %s %+.1f %% of it", row.Key[0], 100*off)
			agree = agree && off < agreement && off > -agreement
		}
	}
	why += ". Of a server that stands still, the 99.9th percentile tells:"
	hidden := false // from somebody
	open := stalls.median("p99.9", ours+openLoop)
	for _, row := range stalls.Rows {
		tail := row.Cells[1].Median
		why += fmt.Sprintf(" %s %.0f ms;", row.Key[0], tail)
		hidden = hidden || tail < open/2
	}
	why += " an answer costs the generator"
	for _, row := range costs.Rows {
		why += fmt.Sprintf(" %.1f us (%s, %s connections)", row.Cells[0].Median, row.Key[0], row.Key[1])
	}
	why += "."
	switch {
	case agree && hidden:
		return Verdict{Partly, why + " The rate is the same whoever asks; what was late a closed loop hides, because it " +
			"does not ask while it waits, unless its figures are mended afterwards (wrk)."}
	case agree:
		return Verdict{Holds, why}
	}
	return Verdict{Partly, why + fmt.Sprintf(" Not all rates lie within %.0f %% of each other.", 100*agreement)}
}
