package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func idle() Experiment {
	return Experiment{
		Name: "idle", Title: "What does an idle connection cost?",
		Seeds: []string{"000", "003"},
		Claim: "The trouble of internet servers is not the amount of data but the number of connections, of which most are " +
			"silent. 10,000 of them on one machine take 40 % of the processor and 60 % of the memory.",
		Varied: "the idle connections beside 64 active ones",
		Method: "The reactor with one loop. 64 connections ask for a second and leave, so that the server has what it " +
			"needs for requests. The idle ones ask once; when the server has become quiet, which is counted by itself, it " +
			"is left alone for 3 seconds; then 64 others ask as fast as they are answered. Memory is what the kernel counts " +
			"as resident for the process. Beyond 15,000 connections the example million takes over, which fills the server " +
			"by a ring of its own and compares it with one that holds few.",
		Takes: 6 * minute, Quick: quickest, Full: 20 * minute, measure: measureIdle, judge: judgeIdle,
	}
}

func measureIdle(ctx context.Context, s *Stand, r *Result) error {
	counts, length := []int{0, 1000, 10000, 15000}, 3*time.Second
	if s.Quick {
		counts, length = []int{0, 500, 2000}, 700*time.Millisecond
	}
	t := r.table("idle", []string{"idle connections"}, Column{"resident memory", "MiB"},
		Column{"added by the idle", "MiB"}, Column{"CPU per request", "us"}, Column{"reply rate", "replies/s"},
		Column{"p99 of 64 active", "ms"}, Column{"CPU while all are idle", "%"}, Column{"CPU of falling silent", "ms"})
	for round := range s.Rounds {
		for _, i := range rotated(len(counts), round) {
			n := counts[i]
			s.Tell("idle: %d", n)
			if err := measureIdleOnce(ctx, s, r, t, n, length); err != nil {
				return err
			}
		}
	}
	for _, c := range []string{"resident memory", "CPU per request", "p99 of 64 active"} {
		r.draw(Figure{Title: c + ", by idle connections", Table: t.Name, Column: c, Over: "idle connections"})
	}
	return measureMillion(ctx, s, r)
}

// measureIdleOnce has the 64 ask before and after the idle connections are there: what a server sets up with its first
// requests is none of what they cost.
func measureIdleOnce(ctx context.Context, s *Stand, r *Result, t *Table, n int, length time.Duration) error {
	p, err := s.serve(ctx, "idle", 0, "--model", "reactor", "--loops", "1")
	if err != nil {
		return err
	}
	load := demand{target: "http://" + p.address + "/", connections: active, length: length / 3, server: p.pid}
	if _, err := s.ask(ctx, load); err != nil {
		return err
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	empty, err := used(p.pid)
	if err != nil {
		return err
	}
	beside, err := gather(ctx, p.address, n)
	if err != nil {
		return err
	}
	defer beside.leave()
	loud, err := used(p.pid)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	quiet, err := used(p.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	select { // what an idle server does is seen by waiting
	case <-time.After(length):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	before, err := used(p.pid)
	if err != nil {
		return err
	}
	resting := 100 * float64(before.time-quiet.time) / float64(time.Since(began))
	load.length = length
	o, err := s.ask(ctx, load)
	if err != nil {
		return err
	}
	a, err := p.account(ctx)
	if err != nil {
		return err
	}
	r.check(o.failed == 0 && o.good > 0, "%d idle: all of %d requests were answered", n, o.begun)
	r.check(a.Connections.Open >= int64(n), "%d idle: the server still holds them: %d are open", n, a.Connections.Open)
	t.add([]string{strconv.Itoa(n)}, float64(before.resident)/(1<<20), float64(before.resident-empty.resident)/(1<<20),
		o.cpu, o.perSecond, o.p99, resting, float64(quiet.time-loud.time)/1e6)
	beside.leave() // a server that ends waits for those that are still there
	return s.end(p)
}

// millionReport is what is read of the example's own report.
type millionReport struct {
	Open     int     `json:"descriptors_open"`
	FillRate float64 `json:"fill_per_second"`
	Kernel   int64   `json:"kernel_bytes_per_pair"`
	Peak     struct {
		Peak int64 `json:"peak_resident_bytes"`
	} `json:"memory_highest"`
	Held struct {
		Server int `json:"kernel_server_end"`
		Client int `json:"kernel_client_end"`
	} `json:"held"`
	Asked    int `json:"asked_again"`
	Answered int `json:"answered_again"`
	Criteria []struct {
		Name string `json:"name"`
		Got  string `json:"got"`
	} `json:"criteria"`
}

// got is the number that a criterion found.
func (m *millionReport) got(name string) float64 {
	for _, c := range m.Criteria {
		if c.Name == name {
			if v, err := strconv.ParseFloat(c.Got, 64); err == nil {
				return v
			}
		}
	}
	return math.NaN()
}

const crowdTable = "more connections than descriptors"

// measureMillion runs the example for the counts that one process's descriptors do not reach.
func measureMillion(ctx context.Context, s *Stand, r *Result) error {
	example, err := s.build(ctx, "./examples/million")
	if err != nil {
		r.note("More connections than descriptors were not made: %v", err)
		return nil
	}
	counts, more := []int{100_000, 1_000_000}, []string{"-rounds", strconv.Itoa(max(3, s.Rounds))}
	if s.Quick {
		counts, more = []int{20_000}, []string{"-rounds", "1", "-length", "300ms"}
	}
	var t *Table
	for _, n := range counts {
		s.Tell("idle: %d, by the example million", n)
		out := filepath.Join(s.dir, fmt.Sprint("million-", n))
		_, err := s.finish(ctx, spec{name: "million", anywhere: true, command: append([]string{
			example, "-n", strconv.Itoa(n), "-server", s.Program, "-out", out,
		}, more...)})
		var report millionReport
		text, unread := os.ReadFile(filepath.Join(out, "million.json"))
		if unread == nil {
			unread = json.Unmarshal(text, &report)
		}
		if unread != nil {
			r.note("%d connections could not be made: %v", n, err)
			continue
		}
		if t == nil {
			t = r.table(crowdTable, []string{"idle connections"},
				Column{"held by the server", "connections"}, Column{"held by the client", "connections"},
				Column{"descriptors of the server", "descriptors"},
				Column{"most memory of the server", "MiB"}, Column{"kernel memory", "bytes a pair"},
				Column{"made", "connections/s"}, Column{"CPU of a request, to few idle", "ratio"},
				Column{"p99, to few idle", "ratio"})
		}
		t.add([]string{strconv.Itoa(n)}, float64(report.Held.Server), float64(report.Held.Client), float64(report.Open),
			float64(report.Peak.Peak)/(1<<20), float64(report.Kernel), report.FillRate, report.got("processor time a request"),
			report.got("p99 of requests"))
		r.check(report.Held.Server >= n && report.Held.Client >= n, "%d connections are held at both ends: %d, %d", n,
			report.Held.Server, report.Held.Client)
		r.check(report.Asked > 0 && report.Asked == report.Answered, "all of %d were answered once more: %d", report.Asked,
			report.Answered)
	}
	return nil
}

func judgeIdle(r *Result) Verdict {
	t := r.find("idle")
	first, last := t.Rows[0], t.Rows[0]
	for _, row := range t.Rows {
		if row.Key[0] == "0" {
			first = row
		}
		if len(row.Key[0]) > len(last.Key[0]) || len(row.Key[0]) == len(last.Key[0]) && row.Key[0] > last.Key[0] {
			last = row
		}
	}
	n, _ := strconv.ParseFloat(last.Key[0], 64)
	each := t.median("added by the idle", last.Key[0]) * (1 << 20) / n
	dearer := t.median("CPU per request", last.Key[0]) / t.median("CPU per request", first.Key[0])
	why := fmt.Sprintf("%s idle connections add %.0f bytes each to the process and take %.2f %% of a processor; a "+
		"request beside them costs %.2f times what it costs alone.", last.Key[0], each,
		t.median("CPU while all are idle", last.Key[0]), dearer)
	if r.has(crowdTable) {
		rows := r.find(crowdTable).Rows
		most := rows[len(rows)-1]
		why += fmt.Sprintf(" One server process held %.0f, with %.0f descriptors and %.0f MiB; a request beside them cost "+
			"%.2f times one beside few.", most.Cells[0].Median, most.Cells[2].Median, most.Cells[3].Median,
			most.Cells[6].Median)
	}
	if dearer > 1.2 || each > 64<<10 {
		return Verdict{Holds, why}
	}
	return Verdict{NoLonger, why + " That the number of connections is what matters was true of the servers of its day; " +
		"here it costs memory of the kernel, and next to nothing else."}
}
