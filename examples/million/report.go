package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// report is what a run found. It is written as JSON, and as a table for people.
type report struct {
	Passed     bool                `json:"passed"`
	Date       string              `json:"date"`
	Machine    string              `json:"machine"`
	Processors string              `json:"processors"`
	Options    options             `json:"options"`
	Criteria   []criterion         `json:"criteria"`
	Server     status              `json:"server"`
	Open       int                 `json:"descriptors_open"`
	Limit      int                 `json:"descriptors_limit"`
	Begin      machine             `json:"machine_before"`
	Filled     machine             `json:"machine_filled"`
	After      machine             `json:"machine_after"`
	FillTime   time.Duration       `json:"fill_nanoseconds"`
	FillRate   float64             `json:"fill_per_second"`
	FillCost   [4]float64          `json:"fill_microseconds_each"` // used by server and client, waited by both
	KernelPair int64               `json:"kernel_bytes_per_pair"`
	Few        memory              `json:"memory_with_baseline"`
	Full       memory              `json:"memory_full"`
	Peak       memory              `json:"memory_highest"`
	Own        memory              `json:"memory_of_client"`
	Held       census              `json:"held"`
	Again      census              `json:"held_afterwards"`
	Upgrade    *moved              `json:"upgrade,omitempty"`
	Asked      int                 `json:"asked_again"`
	Answered   int                 `json:"answered_again"`
	AskTime    time.Duration       `json:"ask_nanoseconds"`
	Losses     []string            `json:"losses,omitempty"`
	Before     map[string][]sample `json:"measured_before"`
	Beside     map[string][]sample `json:"measured_beside"`
	LeaveTime  time.Duration       `json:"leave_nanoseconds"`
	Stopped    string              `json:"stopped"`
	Settled    string              `json:"settled,omitempty"`
}

// criterion is one promise, what was found, and whether it was kept.
type criterion struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Kept bool   `json:"kept"`
}

func newReport(o options, begin machine) *report {
	return &report{Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Options: o, Begin: begin}
}

// ownMemory is that of this program.
func ownMemory() memory {
	text, _ := os.ReadFile("/proc/self/status")
	return memory{
		Resident: field(text, "VmRSS:") << 10, Anonymous: field(text, "RssAnon:") << 10, Peak: field(text, "VmHWM:") << 10,
	}
}

// ratio is the middle of how a group compares with the control within each round.
func ratio(samples map[string][]sample, name string, of func(sample) float64) float64 {
	type pair struct{ own, control sample }
	var pairs []pair
	for i, s := range samples[name] {
		pairs = append(pairs, pair{s, samples[groupControl][i]})
	}
	return median(pairs, func(p pair) float64 { return of(p.own) / of(p.control) })
}

func perRequest(s sample) float64 { return s.PerRequest }
func late(s sample) float64       { return s.Late }
func middle(s sample) float64     { return s.Middle }
func waiting(s sample) float64    { return 100 * float64(s.Waited) / float64(s.Length) }
func perSecond(s sample) float64  { return s.PerSecond }

// judge compares what was found with what was promised.
func (r *report) judge() {
	add := func(name, want, got string, kept bool) {
		r.Criteria = append(r.Criteria, criterion{name, want, got, kept})
	}
	o := r.Options
	add("connections held, both ends", fmt.Sprint(r.Held.Expected),
		fmt.Sprintf("%d, %d; status %d", r.Held.Server, r.Held.Client, r.Held.Own), r.Held.right())
	add("RLIMIT_NOFILE of the server", fmt.Sprintf("<= %d", descriptors),
		fmt.Sprintf("%d, %d open", r.Limit, r.Open), r.Limit <= descriptors)
	if o.Rate > 0 {
		add("connecting, with a request each", fmt.Sprintf(">= %.0f/s", o.Rate),
			fmt.Sprintf("%.0f/s", r.FillRate), r.FillRate >= o.Rate)
	}
	add("memory of the server, highest", "<= "+size(o.Memory), size(r.Peak.Peak), r.Peak.Peak <= o.Memory)
	cpu, p99 := ratio(r.Beside, groupFirst, perRequest), ratio(r.Beside, groupFirst, late)
	add("processor time a request", fmt.Sprintf("<= %.2f", o.Ratio), fmt.Sprintf("%.3f", cpu), cpu <= o.Ratio)
	add("p99 of requests", fmt.Sprintf("<= %.2f", o.Ratio), fmt.Sprintf("%.3f", p99), p99 <= o.Ratio)
	if m := r.Upgrade; m != nil {
		add("gone on in a new process", fmt.Sprint(o.Connections), fmt.Sprintf("%d, left %d", m.Moved, m.Left),
			m.Left == 0 && m.Moved >= int64(o.Connections))
	}
	add("answered once more", fmt.Sprint(r.Asked), fmt.Sprintf("%d, lost %d", r.Answered, r.Asked-r.Answered),
		r.Answered == r.Asked && r.Again.right())
	add("server ended in order", "exit code 0", r.Stopped, r.Stopped == "exit code 0")
	left := fmt.Sprintf("%d sockets, %d orphans", r.After.Sockets, r.After.Orphans)
	if r.Settled != "" {
		left = r.Settled
	}
	add("the kernel let go", "as before", left, r.Settled == "")
	r.Passed = true
	for _, c := range r.Criteria {
		r.Passed = r.Passed && c.Kept
	}
}

// render makes the table and the JSON.
func (r *report) render() (string, []byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	line := func(format string, arguments ...any) { fmt.Fprintf(&b, format+"\n", arguments...) }
	o := r.Options
	line("million: %d connections in one process, %s", o.Connections, r.Date)
	line("%s; %s", r.Machine, r.Processors)
	line("server: myriad %s, driver %s, model %s, loops %d, direct descriptors %t",
		r.Server.Version, r.Server.Driver, r.Server.Model, r.Server.Loops, r.Server.Capacity.Direct)
	line("")
	line("filled in            %.1f s, %.0f a second", r.FillTime.Seconds(), r.FillRate)
	line("  processor time     server %.1f us a connection, client %.1f us", r.FillCost[0], r.FillCost[1])
	line("  waited for others  server %.1f us a connection, client %.1f us", r.FillCost[2], r.FillCost[3])
	line("server, %7d idle  RSS %s, of it anonymous %s", o.Baseline, size(r.Few.Resident), size(r.Few.Anonymous))
	line("server, %7d idle  RSS %s, of it anonymous %s: %.1f bytes a connection", o.Connections,
		size(r.Full.Resident), size(r.Full.Anonymous),
		float64(r.Full.Resident-r.Few.Resident)/float64(o.Connections-o.Baseline))
	line("client               RSS %s", size(r.Own.Resident))
	line("kernel, both ends    %s a connection, %s in all; tcp_mem pages %d", size(r.KernelPair),
		size(r.Begin.Free-r.Filled.Free), r.Filled.Pages)
	line("asked once more in   %.1f s, closed in %.1f s", r.AskTime.Seconds(), r.LeaveTime.Seconds())
	if m := r.Upgrade; m != nil {
		line("new process          %d connections in %.1f s, %.1f us each", m.Moved, m.TookMS/1e3,
			m.TookMS*1e3/float64(max(m.Moved, 1)))
		line("  a connection waits %.0f ms (median), %.0f (p99), %.0f (longest)", m.PauseP50, m.PauseP99, m.PauseMost)
	}
	line("")
	line("%d active connections, one request at a time each; medians of %d rounds of %v", o.Active, o.Rounds, o.Length)
	line("%-9s %-8s %10s %8s %9s %9s %12s %10s %8s", "beside", "active", "us/request", "ratio", "p50 us", "p99 us",
		"p99 ratio", "requests/s", "waited")
	rows := func(idle int, samples map[string][]sample, names ...string) {
		for _, name := range names {
			beside := idle
			if name == groupControl {
				beside = o.Baseline
			}
			s := samples[name]
			line("%-9d %-8s %10.2f %8.3f %9.0f %9.0f %12.3f %10.0f %7.0f%%", beside, name, median(s, perRequest),
				ratio(samples, name, perRequest), median(s, middle), median(s, late), ratio(samples, name, late),
				median(s, perSecond), median(s, waiting))
		}
	}
	line("(few, first: on the main ring, which is what is judged; spread: over all tables; last: in the last one)")
	line("(waited: how much of the time the server was ready to run and another program ran)")
	rows(o.Baseline, r.Before, groupControl, groupFirst)
	rows(o.Connections, r.Beside, groupControl, groupSpread, groupLast, groupFirst)
	line("the full server used %.2f ms of processor time a second while none of its connections was active",
		median(r.Beside[groupControl], func(s sample) float64 { return s.Idle }))
	line("")
	for _, c := range r.Criteria {
		verdict := "PASS"
		if !c.Kept {
			verdict = "FAIL"
		}
		line("%s  %-36s %-14s %s", verdict, c.Name, c.Want, c.Got)
	}
	for _, loss := range r.Losses {
		line("lost: %s", loss)
	}
	return b.String(), data, nil
}
