package load

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/standard"
)

// Report is what a run has shown. Times are nanoseconds where the name does not say otherwise.
type Report struct {
	Target   string        `json:"target"`
	Date     time.Time     `json:"date"`
	Machine  string        `json:"machine"`
	Driver   string        `json:"driver"`
	Passed   []string      `json:"drivers_passed_over,omitempty"`
	Threads  int           `json:"threads"`
	Seed     uint64        `json:"seed"`
	Loop     string        `json:"loop"` // "closed" or "open"
	What     string        `json:"what"`
	Scenario string        `json:"scenario,omitempty"`   // a file with which the run can be made again
	Program  string        `json:"program,omitempty"`    // that made it, and its version, if whoever runs it says so
	Duration time.Duration `json:"duration_nanoseconds"` // measured
	WarmUp   time.Duration `json:"warmup_nanoseconds"`

	Interrupted bool `json:"interrupted"`

	Requests    Requests          `json:"requests"`
	Errors      map[string]uint64 `json:"errors"`
	Latency     Latency           `json:"latency"`
	Connections Connections       `json:"connections"`
	Connecting  Connecting        `json:"connecting"`
	Begin       Census            `json:"census_begin"`
	End         Census            `json:"census_end"`
	CPU         CPU               `json:"cpu"`
	Memory      Memory            `json:"memory"`

	Counters       Counters `json:"kernel"`
	TimeWaitBefore int64    `json:"time_wait_before"`

	Intervals []Interval `json:"intervals"`
	Warnings  []string   `json:"warnings"`
	Server    []int      `json:"server_pids,omitempty"`
	NoServer  string     `json:"server_unknown,omitempty"`
}

// Requests is what became of those that fell into the measured time. Begun is always Good and Failed together.
type Requests struct {
	Begun          uint64  `json:"begun"`
	Good           uint64  `json:"good"`
	Failed         uint64  `json:"failed"`
	Late           uint64  `json:"answered_after_the_end"`
	PerSecond      float64 `json:"good_per_second"` // answered as expected within the measured time
	BytesIn        uint64  `json:"bytes_in"`        // of the whole run
	BytesOut       uint64  `json:"bytes_out"`
	Statuses       []int64 `json:"statuses,omitempty"` // of HTTP: 1xx to 5xx
	Due            uint64  `json:"due,omitempty"`      // open loop: Begun, Dropped and Left together
	Dropped        uint64  `json:"dropped,omitempty"`  // the backlog was full
	Left           uint64  `json:"left,omitempty"`     // still in the backlog at the end
	LongestBacklog int     `json:"longest_backlog,omitempty"`
	Stale          uint64  `json:"stale_datagrams,omitempty"`
	SlowGood       uint64  `json:"slow_good,omitempty"`
	SlowFailed     uint64  `json:"slow_failed,omitempty"`
}

// Latency is that of whole answers, counted from when their requests were due. Requests that timed out are among them
// with the time they waited.
type Latency struct {
	Count     uint64        `json:"count"`
	Mean      time.Duration `json:"mean_nanoseconds"`
	Deviation time.Duration `json:"deviation_nanoseconds"`
	Shortest  time.Duration `json:"min_nanoseconds"`
	P50       time.Duration `json:"p50_nanoseconds"`
	P90       time.Duration `json:"p90_nanoseconds"`
	P99       time.Duration `json:"p99_nanoseconds"`
	P999      time.Duration `json:"p99_9_nanoseconds"`
	P9999     time.Duration `json:"p99_99_nanoseconds"`
	Longest   time.Duration `json:"max_nanoseconds"`
	Curve     []Point       `json:"curve"`
}

// Connections is what became of them in the whole run.
type Connections struct {
	Active     int    `json:"active"`
	Idle       int    `json:"idle"`
	Slow       int    `json:"slow"`
	Made       uint64 `json:"made"`
	Unmade     uint64 `json:"could_not_be_made"`
	ClosedByUs uint64 `json:"closed_by_us"`
	ClosedByIt uint64 `json:"closed_by_server"`
	LostIdle   uint64 `json:"idle_lost"`
}

// Connecting is how connections were made.
type Connecting struct {
	Took time.Duration `json:"took_nanoseconds"` // until all of the beginning were
	P50  time.Duration `json:"p50_nanoseconds"`
	P99  time.Duration `json:"p99_nanoseconds"`
	Max  time.Duration `json:"max_nanoseconds"`
}

// CPU is processor time in the measured part of the run. What is not known of a server is nil.
type CPU struct {
	Length           time.Duration  `json:"length_nanoseconds"`
	Own              time.Duration  `json:"own_nanoseconds"`
	OwnPerRequest    float64        `json:"own_microseconds_per_request"`
	Server           *time.Duration `json:"server_nanoseconds,omitempty"`
	ServerPerRequest *float64       `json:"server_microseconds_per_request,omitempty"`
	Busiest          float64        `json:"busiest_thread_share"`  // of the run that it had a processor
	Hindered         float64        `json:"hindered_thread_share"` // that it wanted one, and others had it
	LagP50           time.Duration  `json:"schedule_lag_p50_nanoseconds,omitempty"`
	LagP99           time.Duration  `json:"schedule_lag_p99_nanoseconds,omitempty"`
}

// Memory is what a connection costs when all are made and none is at work, in bytes.
type Memory struct {
	Connections         int      `json:"connections"`
	OwnPerConnection    float64  `json:"own_per_connection"`
	ServerPerConnection *float64 `json:"server_per_connection,omitempty"`
	KernelPerConnection float64  `json:"kernel_per_connection"` // slab; both ends if both are here
}

// Interval is a part of the measured time.
type Interval struct {
	At        float64       `json:"at_seconds"`
	PerSecond float64       `json:"good_per_second"`
	Failed    uint64        `json:"failed"`
	P50       time.Duration `json:"p50_nanoseconds"`
	P99       time.Duration `json:"p99_nanoseconds"`
	Longest   time.Duration `json:"max_nanoseconds"`
}

func newReport(p *Plan, driverName string, passed []standard.Passed, s *server) *Report {
	r := &Report{
		Target: p.Target.Text, Date: time.Now().UTC().Truncate(time.Second), Machine: describe(), Driver: driverName,
		Threads: p.Threads, Seed: p.Seed, Loop: "closed", What: p.describe(), Scenario: p.Scenario,
		WarmUp: p.WarmUp,
		Server: s.pids, NoServer: s.why, Errors: map[string]uint64{}, Warnings: []string{},
	}
	if p.Open() {
		r.Loop = "open"
	}
	for _, d := range passed {
		r.Passed = append(r.Passed, d.Name+": "+d.Support.Why)
	}
	return r
}

// describe names the machine, for whoever reads the figures.
func describe() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		if _, name, ok := strings.Cut(line, ":"); ok {
			model = strings.TrimSpace(name)
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d x %s, Linux %s, %s",
		runtime.NumCPU(), model, strings.TrimSpace(string(release)), runtime.Version())
}

// describe is the plan in a line.
func (p *Plan) describe() string {
	var parts []string
	add := func(when bool, format string, v ...any) {
		if when {
			parts = append(parts, fmt.Sprintf(format, v...))
		}
	}
	add(p.Target.HTTP(), "%s", p.Request.Method)
	add(!p.Target.HTTP(), "%s of %d bytes", p.Request.Pattern, p.Request.Bytes)
	add(true, "%d %s", p.Connections, plural(p.Connections, "connection"))
	add(p.Idle > 0, "%d idle", p.Idle)
	add(p.Slow.Connections > 0, "%d slow (reading %d, writing %d bytes a second; 0 is at once)",
		p.Slow.Connections, p.Slow.Read, p.Slow.Write)
	for _, s := range p.Stages {
		add(s.From == s.To, "%.6g requests a second (%s) for %v", s.From, p.Arrivals, s.For)
		add(s.From != s.To, "%.6g to %.6g requests a second (%s) in %v", s.From, s.To, p.Arrivals, s.For)
	}
	add(p.RampUp > 0, "joining in over %v", p.RampUp)
	add(p.Think > 0, "%v to think", p.Think)
	add(p.Pipeline > 1, "%d requests at a time each", p.Pipeline)
	add(p.PerConnect == 1, "a connection for each request")
	add(p.PerConnect > 1, "a connection for %d requests", p.PerConnect)
	return strings.Join(parts, ", ")
}

// collect sums up what the workers have counted.
func (r *run) collect() {
	rep, p := r.report, r.plan
	all, connect, lag := NewHistogram(), NewHistogram(), newHistogram(coarseBits)
	q, c := &rep.Requests, &rep.Connections
	c.Active, c.Idle, c.Slow = p.Connections, p.Idle, p.Slow.Connections
	if p.Target.HTTP() {
		q.Statuses = make([]int64, 5)
	}
	var window uint64
	for _, w := range r.workers {
		t := &w.tally
		q.Begun, q.Good, q.Failed, q.Late = q.Begun+t.begun, q.Good+t.good, q.Failed+t.failed, q.Late+t.late
		q.Due, q.Dropped, q.Left = q.Due+t.due, q.Dropped+t.dropped, q.Left+t.left
		q.BytesIn, q.BytesOut = q.BytesIn+t.bytesIn, q.BytesOut+t.bytesOut
		q.Stale, q.SlowGood, q.SlowFailed = q.Stale+t.stale, q.SlowGood+t.slowGood, q.SlowFailed+t.slowFailed
		q.LongestBacklog += t.longestBacklog
		c.Made, c.Unmade, c.LostIdle = c.Made+t.connected, c.Unmade+t.unmade, c.LostIdle+t.lostIdle
		c.ClosedByUs, c.ClosedByIt = c.ClosedByUs+t.closedByUs, c.ClosedByIt+t.closedByIt
		window += t.window
		for i := range q.Statuses {
			q.Statuses[i] += int64(t.statuses[i+1])
		}
		for cause, n := range t.errors {
			rep.Errors[cause] += n
		}
		all.Merge(w.latency)
		connect.Merge(t.connect)
		lag.Merge(w.lag)
		if length := w.end - w.begin; length > 0 {
			rep.CPU.Busiest = max(rep.CPU.Busiest, float64(w.busy.ran)/float64(length))
			rep.CPU.Hindered = max(rep.CPU.Hindered, float64(w.busy.waited)/float64(length))
		}
		rep.Duration = max(rep.Duration, time.Duration(w.end-w.from))
	}
	if rep.Duration > 0 {
		q.PerSecond = float64(window) / rep.Duration.Seconds()
	}
	rep.Connecting.P50, rep.Connecting.P99 = connect.Quantile(0.5), connect.Quantile(0.99)
	rep.Connecting.Max = connect.Longest()
	rep.CPU.LagP50, rep.CPU.LagP99 = lag.Quantile(0.5), lag.Quantile(0.99)
	rep.Latency = Latency{
		Count: all.Count(), Mean: all.Mean(), Deviation: all.Deviation(), Shortest: all.Shortest(),
		P50: all.Quantile(0.5), P90: all.Quantile(0.9), P99: all.Quantile(0.99), P999: all.Quantile(0.999),
		P9999: all.Quantile(0.9999), Longest: all.Longest(), Curve: all.Curve(),
	}
	r.collectIntervals()
	rep.warn(p)
}

// collectIntervals merges what the workers saw in the same intervals. The last one is shorter than the others.
func (r *run) collectIntervals() {
	rep := r.report
	length := intervalOf(r.plan.Duration)
	for i := 0; ; i++ {
		merged := Sample{latency: newHistogram(coarseBits)}
		found := false
		for _, w := range r.workers {
			if i < len(w.samples) {
				found = true
				merged.Good += w.samples[i].Good
				merged.Failed += w.samples[i].Failed
				merged.latency.Merge(w.samples[i].latency)
			}
		}
		at := time.Duration(i) * length
		took := min(length, rep.Duration-at)
		if !found || took <= 0 {
			return
		}
		rep.Intervals = append(rep.Intervals, Interval{
			At: at.Seconds(), PerSecond: float64(merged.Good) / took.Seconds(), Failed: merged.Failed,
			P50: merged.latency.Quantile(0.5), P99: merged.latency.Quantile(0.99), Longest: merged.latency.Longest(),
		})
	}
}

// The limits beyond which a run says more about the generator than about the server.
const (
	busyShare = 0.9
	lagMost   = time.Millisecond
)

// Strained tells in which ways the generator was itself a part of what it measured: its busiest thread was at work
// nearly all the time, or lacked a processor, or requests were sent late though a connection was free.
func (c *CPU) Strained() (busy, hindered, behind bool) {
	return c.Busiest > busyShare, c.Busiest <= busyShare && c.Busiest+c.Hindered > busyShare, c.LagP99 > lagMost
}

// warn says what a reader of the figures must know.
func (r *Report) warn(p *Plan) {
	add := func(when bool, format string, v ...any) {
		if when {
			r.Warnings = append(r.Warnings, fmt.Sprintf(format, v...))
		}
	}
	add(r.Interrupted, "the run was interrupted")
	busy, hindered, behind := r.CPU.Strained()
	add(busy, "the generator itself is the bottleneck: its busiest thread had its processor "+
		"for %.0f %% of the run; with more threads (it had %d) or processors the server might have done more",
		100*r.CPU.Busiest, r.Threads)
	add(hindered, "the generator lacked processors: its "+
		"busiest thread ran for %.0f %% of the time and waited for a processor, which others had, for %.0f %%",
		100*r.CPU.Busiest, 100*r.CPU.Hindered)
	add(behind, "the generator fell behind its schedule: one request in a hundred was sent more than "+
		"%s late though a connection was free; that is part of the latencies", short(r.CPU.LagP99))
	add(r.Requests.Dropped > 0, "%d requests found the backlog full and were never sent: no latency tells of them",
		r.Requests.Dropped)
	add(r.Requests.Left > 0, "%d requests were still waiting for a connection when the run ended: no latency tells of "+
		"them", r.Requests.Left)
	if silent := r.Requests.Begun - min(r.Requests.Begun, r.Latency.Count); silent > 0 {
		add(true, "%d requests were cut off before an answer: no latency tells of them", silent)
	}
	add(r.Counters.TimeWaitOverflows > 0, "the kernel's table of sockets in TIME_WAIT was full (tcp_max_tw_buckets): %d "+
		"were let go at once, and the numbers in TIME_WAIT say nothing", r.Counters.TimeWaitOverflows)
	add(r.Connections.Unmade > 0, "%d connections could not be made", r.Connections.Unmade)
	add(r.Connections.LostIdle > 0, "the server closed %d connections that were to be there", r.Connections.LostIdle)
	add(r.Counters.ListenOverflows > 0, "the queue of a listener on this machine overflowed %d times during the run",
		r.Counters.ListenOverflows)
	add(p.Requests > 0 && p.WarmUp == 0 && !r.Interrupted && r.Requests.Begun < p.Requests, "only %d of %d requests were "+
		"begun: the duration ended the run", r.Requests.Begun, p.Requests)
	add(p.Open() && r.Latency.Count > 0 && r.Latency.Count < 1000, "only %d answers: percentiles beyond the 99th "+
		"say little", r.Latency.Count)
}

// causes are the errors, the most frequent first.
func (r *Report) causes() []string {
	return slices.SortedFunc(maps.Keys(r.Errors), func(a, b string) int {
		if d := int64(r.Errors[b]) - int64(r.Errors[a]); d != 0 {
			return int(max(min(d, 1), -1))
		}
		return strings.Compare(a, b)
	})
}

func (r *Report) firstError() string {
	if list := r.causes(); len(list) > 0 {
		return strings.TrimPrefix(list[0], "connect: ")
	}
	return "nothing was heard"
}
