package app

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/meter"
	"github.com/myriad-server/myriad/web"
)

// Status is what is running, as the status action answers it. Numbers that count only grow.
type Status struct {
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	PID           int      `json:"pid"`
	UptimeSeconds float64  `json:"uptime_seconds"`
	Driver        string   `json:"driver"`
	Passed        []passed `json:"driver_passed_over"` // what the automatic choice did not take, and why
	Model         string   `json:"model"`
	Accept        string   `json:"accept"`
	Loops         int      `json:"loops"`
	Listeners     []string `json:"listeners"`
	Capacity      capacity `json:"capacity"`
	Connections   counted  `json:"connections"`
	Requests      int64    `json:"requests"`
	Responses     answered `json:"responses"`
	ReceivedBytes int64    `json:"received_bytes"`
	SentBytes     int64    `json:"sent_bytes"`
	OpenPerWorker []int64  `json:"open_per_worker"` // a worker is a loop, where the model has loops
	ResidentBytes int64    `json:"resident_bytes"`  // memory of the process, 0 if unknown

	Upstreams []upstreamStatus `json:"upstreams,omitempty"`
	Streams   []streamStatus   `json:"streams,omitempty"` // the listeners that pass bytes or datagrams on
}

type passed struct {
	Driver string `json:"driver"`
	Why    string `json:"why"`
	Fix    string `json:"fix"`
}

type capacity struct {
	Connections int    `json:"connections"`
	Wall        string `json:"first_wall"`
	Direct      bool   `json:"direct_descriptors"`
}

type counted struct {
	Open     int64 `json:"open"`
	Accepted int64 `json:"accepted"`
	Closed   int64 `json:"closed"`
	Refused  int64 `json:"refused"`
	Shed     int64 `json:"shed"`
	Dialled  int64 `json:"dialled"` // to upstreams; open and closed count these too
}

type answered struct {
	Success     int64 `json:"2xx"`
	Redirection int64 `json:"3xx"`
	ClientError int64 `json:"4xx"`
	ServerError int64 `json:"5xx"`
}

// Status looks at the server. Any goroutine; it costs a copy of the counters and one small file of /proc.
func (a *App) Status() Status {
	p, total := a.now().plan, a.counters.Total()
	s := Status{
		Name: "myriad", Version: a.options.Version, PID: os.Getpid(),
		UptimeSeconds: time.Since(a.started).Truncate(time.Millisecond).Seconds(),
		Driver:        p.DriverName(), Passed: []passed{}, Model: p.Model.Name(), Accept: p.Accept.String(), Loops: p.Loops,
		Listeners: a.URLs(),
		Capacity: capacity{
			Connections: p.Capacity.First().At, Wall: p.Capacity.First().Name, Direct: p.Capacity.Direct,
		},
		Connections: counted{
			Open: total[meter.Open], Accepted: total[meter.Accepted], Closed: total[meter.Closed],
			Refused: total[meter.Refused], Shed: total[meter.Shed],
			Dialled: total[meter.Dialled],
		},
		Requests: total[meter.Requests],
		Responses: answered{
			Success: total[meter.Responses2xx], Redirection: total[meter.Responses3xx],
			ClientError: total[meter.Responses4xx], ServerError: total[meter.Responses5xx],
		},
		ReceivedBytes: total[meter.BytesIn], SentBytes: total[meter.BytesOut],
		OpenPerWorker: []int64{},
		ResidentBytes: resident(),
	}
	for _, over := range p.Passed {
		s.Passed = append(s.Passed, passed{over.Name, over.Support.Why, over.Support.Fix})
	}
	s.Upstreams, s.Streams = a.upstreamStatuses(), a.streamStatuses()
	for _, counts := range a.counters.Workers() {
		s.OpenPerWorker = append(s.OpenPerWorker, counts[meter.Open])
	}
	return s
}

// resident is the memory of the process, proc_pid_statm(5); 0 if it cannot be read.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// serveStatus answers with the status document. It is asked by people and dashboards, so it may allocate.
func (a *App) serveStatus(x *web.Exchange) {
	text, err := json.MarshalIndent(a.Status(), "", "  ")
	if err != nil {
		x.Fail(500)
		return
	}
	x.Status(200)
	x.Add("Content-Type", "application/json")
	x.Add("Cache-Control", "no-store")
	x.Reply(append(text, '\n'))
}
