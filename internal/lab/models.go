package lab

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
			"100 threads leaves 9,900 of 10,000 connections waiting. One thread and a selector serve 10,000. Processes are " +
			"easy to control and sturdy, and dear to make for each client; made before, with connections passed to them, or " +
			"with a port each that a manager names, they are not. Threads cost context switches and memory, all the more on " +
			"Linux, where they are processes.",
		Varied: "the model, and the connections",
		Method: "One server for each model, on one processor: five of one process, and four of a supervisor with two " +
			"worker processes, each with one loop, which differ in how connections come to the workers. Each " +
			"connection asks, hears the answer, and thinks, so that all of them together ask 2,000 times a second " +
			"however many they are. A request that is not answered within two seconds counts as not answered. " +
			"Threads, memory, context switches and processor time are read from /proc while the load is on, and are " +
			"those of all processes of a server together, the supervisor included. Resident memory counts a page that" +
			" several of them share once for each, proportional memory (PSS) divides it among all that have it, the " +
			"lab included, which is the same program. Under ports the entry is asked first where the workers are, " +
			"before the measured time; then the connections are spread evenly over the workers' own ports, and the " +
			"response times are those of the worker whose are the worst. It takes connections that stay: what passing" +
			" one on costs is not seen here.",
		Takes: 16 * minute, Quick: quickest, Full: 35 * minute, measure: measureModels, judge: judgeModels,
	}
}

// runner is who runs which connection.
type runner struct {
	name, model string
	processes   string // the process model, or "" for one process
	arguments   []string
}

// runners is the models within one process, and those of several.
func runners() (list []runner) {
	more := map[string][]string{
		"workpool": {"--set", "engine.workers=" + strconv.Itoa(poolWorkers), "--set", "engine.queue=20000"},
		"reactor":  {"--loops", "1"},
	}
	for _, name := range []string{"single", "thread", "workpool", "goroutine", "reactor"} {
		list = append(list, runner{name, name, "", append([]string{"--model", name}, more[name]...)})
	}
	for _, name := range processModels() {
		list = append(list, runner{name, "reactor", name, []string{"--model", "reactor", "--loops", "1"}})
	}
	return list
}

func processModels() []string { return []string{"reuseport", "shared", "prefork", "ports"} }

const (
	allAsk  = 2000 // requests a second of all connections together
	patient = 2 * time.Second
)

func measureModels(ctx context.Context, s *Stand, r *Result) error {
	connections, length := []int{1, 10, 100, 1000, 10000}, 3*time.Second
	if s.Quick {
		connections, length = []int{1, 200}, time.Second
	}
	t := r.table("models", []string{"model", "connections"}, Column{"processes", "processes"},
		Column{"threads", "threads"}, Column{"resident memory", "MiB"}, Column{"proportional memory", "MiB"},
		Column{"context switches", "1/s"}, Column{"CPU per request", "us"}, Column{"reply rate", "replies/s"},
		Column{"median latency", "ms"}, Column{"p99 latency", "ms"}, Column{"not answered", "%"})
	list := runners()
	for round := range s.Rounds {
		for _, n := range connections {
			for _, i := range rotated(len(list), round) {
				if s.Quick && n == 1 && list[i].processes != "" {
					continue // it would take the same steps once more
				}
				s.Tell("models: %s, %d connections", list[i].name, n)
				if err := measureModel(ctx, s, r, t, list[i], n, length); err != nil {
					return err
				}
			}
		}
	}
	for _, c := range []string{
		"threads", "resident memory", "proportional memory", "context switches", "CPU per request", "p99 latency",
		"not answered",
	} {
		r.draw(Figure{
			Title: c + ", by connections", Table: t.Name, Column: c, Line: "model", Over: "connections", LogX: true,
			LogY: c != "not answered",
		})
	}
	return nil
}

// measureModel puts n connections on one server.
func measureModel(ctx context.Context, s *Stand, r *Result, t *Table, m runner, n int, length time.Duration) error {
	p, err := s.serveTeam(ctx, m)
	if err != nil {
		return err
	}
	a, err := p.account(ctx)
	if err != nil {
		return err
	}
	r.check(a.Model == m.model, "the server of %s runs the model %s", m.name, a.Model)
	think := time.Duration(float64(n) / allAsk * float64(time.Second))
	o, err := s.askTeam(ctx, p, demand{
		connections: n, length: max(length, 2*think), think: think, rampUp: think, timeout: patient,
	})
	if err != nil {
		return err
	}
	w := &o.watched
	r.check(o.good > 0 && o.good+o.failed == o.begun && w.looks > 1 && w.proportional > 0,
		"%s, %d connections: %d answers and %d errors are all of %d requests", m.name, n, o.good, o.failed, o.begun)
	t.add([]string{m.name, strconv.Itoa(n)}, float64(len(p.pids)), float64(w.last.threads),
		float64(w.last.resident)/(1<<20), float64(w.proportional)/(1<<20), w.switches(), w.cpu(), o.perSecond, o.p50, o.p99,
		100*float64(o.failed)/float64(o.begun))
	return s.end(p.process)
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
	why += judgeProcesses(t, n)
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

// judgeProcesses is what is seen of processes against threads, with the most connections. Results that were kept from
// before there were process models have none of it.
func judgeProcesses(t *Table, n string) string {
	if t.row("ports", n) == nil {
		return ""
	}
	get := func(column, model string) float64 { return t.median(column, model, n) }
	all := func(column string) (values []float64) {
		for _, m := range processModels() {
			values = append(values, get(column, m))
		}
		return values
	}
	var each []string
	for _, m := range processModels() {
		each = append(each, fmt.Sprintf("%s %.1f %% (%.0f MiB)", m, get("not answered", m),
			get("proportional memory", m)))
	}
	costs, switches, memory := all("CPU per request"), all("context switches"), all("proportional memory")
	text := fmt.Sprintf(" %d worker processes with a loop each leave unanswered: %s, the supervisor's memory "+
		"included; one loop in one process has %.0f MiB counted like that, a thread each %.0f MiB. A request costs "+
		"them %.0f to %.0f us of processor time, one loop %.0f, a thread each %.0f; they make %.0f to %.0f context "+
		"switches a second, one loop %.0f, a thread each %.0f.", workers, strings.Join(each, ", "),
		get("proportional memory", "reactor"), get("proportional memory", "thread"), slices.Min(costs),
		slices.Max(costs), get("CPU per request", "reactor"), get("CPU per request", "thread"),
		slices.Min(switches), slices.Max(switches), get("context switches", "reactor"),
		get("context switches", "thread"))
	if slices.Max(all("not answered")) < 1 && slices.Max(memory) < get("proportional memory", "thread") {
		text += " A few processes that are there before their clients are not dear: they take less memory than the threads."
	}
	return text
}
