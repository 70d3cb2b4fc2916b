package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// poolWorkers is the pool of the text: a hundred threads.
const poolWorkers = 100

func models() Experiment {
	return Experiment{
		Name: "models", Title: "Who runs which connection, and what does that cost?",
		Seeds: []string{"000", "001", "003"},
		Claim: "A server that takes one connection at a time leaves 99 of 100 waiting. A thread for each connection makes " +
			"10,000 threads of 10,000 connections, which is impossible: 1 MB of stack each, and context switches. A pool of " +
			"100 threads leaves 9,900 of 10,000 connections waiting. One thread and a selector serve 10,000.",
		Varied: "the model, and the connections",
		Method: "One server process for each model. Each connection asks, hears the answer, and thinks, so that all of " +
			"them " +
			"together ask 2,000 times a second however many they are. A request that is not answered within two seconds " +
			"counts as not answered. Threads, memory and context switches are read from /proc while the load is on.",
		Takes: 8 * minute, Quick: quickest, Full: 20 * minute, measure: measureModels, judge: judgeModels,
	}
}

// modelNames is the models, and what each needs to be told.
func modelNames() (names []string, more map[string][]string) {
	return []string{"single", "thread", "workpool", "goroutine", "reactor"}, map[string][]string{
		"workpool": {"--set", "engine.workers=" + strconv.Itoa(poolWorkers), "--set", "engine.queue=20000"},
		"reactor":  {"--loops", "1"},
	}
}

const (
	allAsk  = 2000 // requests a second of all connections together
	patient = 2 * time.Second
)

func measureModels(ctx context.Context, s *Stand, r *Result) error {
	connections, length := []int{1, 10, 100, 1000, 10000}, 3*time.Second
	if s.Quick {
		connections, length = []int{1, 200}, time.Second
	}
	t := r.table("models", []string{"model", "connections"}, Column{"threads", "threads"},
		Column{"resident memory", "MiB"}, Column{"context switches", "1/s"}, Column{"reply rate", "replies/s"},
		Column{"median latency", "ms"}, Column{"p99 latency", "ms"}, Column{"not answered", "%"})
	names, more := modelNames()
	for round := range s.Rounds {
		for _, n := range connections {
			for _, i := range rotated(len(names), round) {
				s.Tell("models: %s, %d connections", names[i], n)
				p, err := s.serve(ctx, names[i], 0, append([]string{"--model", names[i]}, more[names[i]]...)...)
				if err != nil {
					return err
				}
				a, err := p.account(ctx)
				if err != nil {
					return err
				}
				r.check(a.Model == names[i], "the server of %s runs the model %s", names[i], a.Model)
				think := time.Duration(float64(n) / allAsk * float64(time.Second))
				o, err := s.ask(ctx, demand{
					target: "http://" + p.address + "/", connections: n, length: max(length, 2*think), think: think, rampUp: think,
					timeout: patient, watch: p.pid,
				})
				if err != nil {
					return err
				}
				r.check(o.good > 0 && o.good+o.failed == o.begun && o.watched.looks > 1,
					"%s, %d connections: %d answers and %d errors are all of %d requests", names[i], n, o.good, o.failed, o.begun)
				t.add([]string{names[i], strconv.Itoa(n)}, float64(o.watched.last.threads),
					float64(o.watched.last.resident)/(1<<20), o.watched.switches(), o.perSecond, o.p50, o.p99,
					100*float64(o.failed)/float64(o.begun))
				if err := s.end(p); err != nil {
					return err
				}
			}
		}
	}
	for _, c := range []string{"threads", "resident memory", "context switches", "p99 latency", "not answered"} {
		r.draw(Figure{
			Title: c + ", by connections", Table: t.Name, Column: c, Line: "model", Over: "connections", LogX: true,
			LogY: c != "not answered",
		})
	}
	return nil
}

func judgeModels(r *Result) Verdict {
	t := r.find("models")
	n := t.Rows[len(t.Rows)-1].Key[1]
	get := func(column, model string) float64 { return t.median(column, model, n) }
	why := fmt.Sprintf("With %s connections: one at a time leaves %.0f %% of the requests unanswered, a pool of %d "+
		"%.0f %%, "+
		"a thread each %.1f %% (with %.0f threads, %.0f MiB), a goroutine each %.1f %% (%.0f threads, %.0f MiB), one loop "+
		"%.1f %% (%.0f threads, %.0f MiB).", n, get("not answered", "single"), poolWorkers, get("not answered", "workpool"),
		get("not answered", "thread"), get("threads", "thread"), get("resident memory", "thread"),
		get("not answered", "goroutine"), get("threads", "goroutine"), get("resident memory", "goroutine"),
		get("not answered", "reactor"), get("threads", "reactor"), get("resident memory", "reactor"))
	waits := get("not answered", "single") > 50 && get("not answered", "workpool") > 10
	many := get("not answered", "reactor") < 1
	if waits && many && get("not answered", "thread") < 1 {
		return Verdict{Partly, why + " The waiting is as described; so many threads are possible now."}
	}
	if waits && many {
		return Verdict{Holds, why}
	}
	return Verdict{NoLonger, why}
}
