package load

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Pattern is what the two ends of a stream or a datagram socket say to each other.
type Pattern string

// The patterns. HTTP has none.
const (
	// Echo sends Bytes and wants the same back.
	Echo Pattern = "echo"
	// PingPong sends Bytes and wants AnswerBytes of anything back.
	PingPong Pattern = "pingpong"
	// Upload sends pieces of Bytes as fast as they are taken; a piece that the kernel has taken is a request answered.
	Upload Pattern = "upload"
	// Download takes whatever comes; each AnswerBytes of it is a request answered.
	Download Pattern = "download"
)

// Arrivals is how requests become due in an open loop.
type Arrivals string

// The arrivals.
const (
	Constant Arrivals = "constant"
	Poisson  Arrivals = "poisson"
)

// Request is what is sent and what is expected.
type Request struct {
	Method  string
	Headers []string // "Name: value"
	Body    []byte
	// Status is the only status that is no error; 0 takes all below 400.
	Status int
	// Expect is the body that every answer must have; nil takes any.
	Expect []byte

	Pattern     Pattern
	Bytes       int
	AnswerBytes int
}

// Slow is what slow connections do instead of asking like the others.
type Slow struct {
	Connections int
	// Read and Write are bytes a second at which the answer is read and the request is written; 0 is at full speed.
	Read, Write int
}

// Plan is one run.
type Plan struct {
	Target  Target
	Request Request

	// Connections are active, Idle ones ask once (if Touch) and then only are there, Slow ones take their time.
	Connections int
	Idle        int
	Touch       bool
	Slow        Slow

	Duration time.Duration
	WarmUp   time.Duration // asked and answered but not counted
	Requests uint64        // ends the run when so many were begun; 0: only Duration does
	RampUp   time.Duration // over which active connections join in

	Stages   []Stage // open loop; none: closed loop
	Arrivals Arrivals
	Backlog  int
	Think    time.Duration

	Pipeline   int
	PerConnect int // requests of a connection before it is closed and another made; 0: no end
	Reset      bool
	Timeout    time.Duration

	Sources []netip.Addr // source addresses; none: the kernel's choice, or spread when there are very many

	Threads int
	Driver  string
	Seed    uint64
	PID     int // of the server, if it is not to be found by itself

	// Scenario is what was said, for the report; Settings.Again writes it.
	Scenario string

	// Grace is how long after the end answers are waited for; Timeout if zero.
	Grace time.Duration
}

// Default is a plan with all that has a usual value.
func Default() Plan {
	return Plan{
		Request:     Request{Method: "GET", Pattern: Echo, Bytes: 64},
		Connections: 64, Touch: true, Duration: 10 * time.Second, Arrivals: Constant, Backlog: 100_000,
		Pipeline: 1, Timeout: 10 * time.Second, Threads: 1, Driver: "auto", Seed: 1,
	}
}

// Open reports whether requests become due by themselves.
func (p *Plan) Open() bool { return len(p.Stages) > 0 }

// Check tells everything that is wrong with a plan.
func (p *Plan) Check() error {
	var wrong []error
	for _, f := range p.faults() {
		wrong = append(wrong, f)
	}
	return errors.Join(wrong...)
}

// connectionsMost is how many connections can be at work in one run.
const connectionsMost = 1 << 22

// faults is everything that is wrong with a plan, by the keys of a scenario.
func (p *Plan) faults() (faults []Fault) {
	must := func(ok bool, key, format string, v ...any) {
		if !ok {
			faults = append(faults, Fault{key, fmt.Sprintf(format, v...)})
		}
	}
	within := func(key string, n, least, most int) {
		must(n >= least && n <= most, key, "it is %d; it must be %d to %d", n, least, most)
	}
	within("connections", p.Connections, 0, connectionsMost)
	within("idle", p.Idle, 0, connectionsMost)
	within("slow", p.Slow.Connections, 0, connectionsMost)
	must(p.Connections+p.Idle+p.Slow.Connections > 0, "connections", "there is no connection to make")
	must(p.Duration > 0, "duration", "it must be positive")
	must(p.WarmUp >= 0, "warmup", "it is negative")
	must(p.RampUp >= 0, "ramp", "it is negative")
	must(p.Think >= 0, "think", "it is negative")
	must(p.Timeout > 0, "timeout", "it must be positive")
	within("pipeline", p.Pipeline, 1, 1024)
	within("threads", p.Threads, 1, 64)
	within("backlog", p.Backlog, 1, 1<<28)
	must(p.PerConnect >= 0, "per-connection", "it is negative")
	must(p.Think == 0 || p.Pipeline == 1, "think", "it is for one request at a time, and pipeline says more")
	must(p.Think == 0 || !p.Open(), "think", "it is for a closed loop; in an open one the rate says when to ask")
	must(p.Arrivals == Constant || p.Arrivals == Poisson, "arrivals", "it is %q; it must be constant or poisson",
		p.Arrivals)
	for i, s := range p.Stages {
		must(s.For > 0 && s.From >= 0 && s.To >= 0 && s.From+s.To > 0 && max(s.From, s.To) <= rateMost,
			fmt.Sprintf("stages[%d]", i), "rates must be 0 to %.0f, one of them positive, for a positive time", rateMost)
	}
	within("slow-read", p.Slow.Read, 0, 1<<30)
	within("slow-write", p.Slow.Write, 0, 1<<30)
	must(p.Slow.Connections == 0 || p.Slow.Read+p.Slow.Write > 0, "slow", "a speed to read or to write at is missing")
	return append(faults, p.requestFaults()...)
}

// rateMost is the highest rate of an open loop.
const rateMost = 1e8

func (p *Plan) requestFaults() (faults []Fault) {
	must := func(ok bool, key, format string, v ...any) {
		if !ok {
			faults = append(faults, Fault{key, fmt.Sprintf(format, v...)})
		}
	}
	r := &p.Request
	if p.Target.HTTP() {
		must(r.Status == 0 || r.Status >= 200 && r.Status <= 599, "expect-status", "it is %d; it must be 200 to 599",
			r.Status)
		must(r.Method != "CONNECT", "method", "tunnels are not asked for")
		must(validToken(r.Method), "method", "%q is no method", r.Method)
		for i, line := range r.Headers {
			name, _, ok := strings.Cut(line, ":")
			must(ok && validToken(name) && !strings.ContainsAny(line, "\r\n"), fmt.Sprintf("headers[%d]", i),
				"%q is no field as \"Name: value\"", line)
		}
		return faults
	}
	bulk := r.Pattern == Upload || r.Pattern == Download
	must(bulk || r.Pattern == Echo || r.Pattern == PingPong, "pattern",
		"it is %q; it must be echo, pingpong, upload or download", r.Pattern)
	must(r.Bytes >= 1 && r.Bytes <= 16<<20, "bytes", "it is %d; it must be 1 to 16777216", r.Bytes)
	must(r.AnswerBytes >= 0, "answer-bytes", "it is negative")
	must(!bulk || !p.Open() && p.Think == 0, "pattern", "%s is as fast as it goes: without rate and think", r.Pattern)
	must(r.Pattern != Download || p.Pipeline == 1, "pipeline", "a download is one long answer")
	if p.Target.Datagrams() {
		must(!bulk, "pattern", "%s is for streams", r.Pattern)
		must(r.Bytes <= maxDatagram, "bytes", "it is %d; a datagram has %d at most here", r.Bytes, maxDatagram)
		must(p.Pipeline == 1, "pipeline", "datagrams are asked one at a time")
		must(p.Slow.Connections == 0, "slow", "datagrams are not sent slowly")
	}
	return faults
}

// validToken reports whether a name can be that of a method or a field (RFC 9110 section 5.6.2).
func validToken(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// maxDatagram is what fits a block of the pool with its address.
const maxDatagram = 8 << 10
