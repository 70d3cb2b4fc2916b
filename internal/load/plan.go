package load

import (
	"errors"
	"fmt"
	"net/netip"
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

	// SlowAnswers is for tests: how long after the end answers are waited for. Timeout if zero.
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
	must := func(ok bool, format string, v ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, v...))
		}
	}
	must(p.Target.Scheme != "", "there is no target")
	must(p.Connections >= 0 && p.Idle >= 0 && p.Slow.Connections >= 0, "a number of connections is negative")
	must(p.Connections+p.Idle+p.Slow.Connections > 0, "there is no connection to make")
	must(p.Connections+p.Slow.Connections <= 1<<22, "more than 4,194,304 connections that are not idle")
	must(p.Duration > 0, "duration must be positive")
	must(p.WarmUp >= 0 && p.RampUp >= 0 && p.Think >= 0, "a time is negative")
	must(p.Timeout > 0, "timeout must be positive")
	must(p.Pipeline >= 1 && p.Pipeline <= 1024, "pipeline is %d; it must be 1 to 1,024", p.Pipeline)
	must(p.Threads >= 1 && p.Threads <= 64, "threads is %d; it must be 1 to 64", p.Threads)
	must(p.Backlog >= 1, "backlog must be positive: a request that is due must be able to wait")
	must(p.PerConnect >= 0, "requests per connection is negative")
	must(p.Think == 0 || p.Pipeline == 1, "think time and pipelining exclude each other")
	must(p.Think == 0 || !p.Open(), "think time is for a closed loop: in an open loop the rate says when to ask")
	must(p.Arrivals == Constant || p.Arrivals == Poisson, "arrivals is %q; it must be constant or poisson", p.Arrivals)
	for i, s := range p.Stages {
		must(s.For > 0 && s.From >= 0 && s.To >= 0 && s.From+s.To > 0 && s.From <= 1e8 && s.To <= 1e8,
			"stages[%d]: rates must be 0 to 100,000,000, one of them positive, for a positive time", i)
	}
	must(p.Slow.Read >= 0 && p.Slow.Write >= 0, "a speed of slow connections is negative")
	must(p.Slow.Connections == 0 || p.Slow.Read+p.Slow.Write > 0, "slow connections need a speed to read or write at")
	return errors.Join(append(wrong, p.checkRequest()...)...)
}

func (p *Plan) checkRequest() (wrong []error) {
	r := &p.Request
	if p.Target.HTTP() {
		if r.Status != 0 && (r.Status < 200 || r.Status > 599) {
			wrong = append(wrong, fmt.Errorf("status is %d; it must be 200 to 599", r.Status))
		}
		return wrong
	}
	switch r.Pattern {
	case Echo, PingPong:
	case Upload, Download:
		if p.Target.Scheme == "udp" {
			wrong = append(wrong, fmt.Errorf("the pattern %s is for streams", r.Pattern))
		}
		if p.Open() || p.Think > 0 {
			wrong = append(wrong, fmt.Errorf("the pattern %s is as fast as it goes: no rate, no think time", r.Pattern))
		}
	default:
		wrong = append(wrong, fmt.Errorf("pattern is %q; it must be echo, pingpong, upload or download", r.Pattern))
	}
	if r.Bytes < 1 || r.Bytes > 16<<20 || r.AnswerBytes < 0 {
		wrong = append(wrong, errors.New("bytes must be 1 to 16,777,216"))
	}
	if p.Target.Scheme == "udp" && r.Bytes > maxDatagram {
		wrong = append(wrong, fmt.Errorf("bytes is %d; a datagram holds %d at most", r.Bytes, maxDatagram))
	}
	if p.Target.Scheme == "udp" && p.Pipeline > 1 {
		wrong = append(wrong, errors.New("datagrams are not pipelined"))
	}
	if p.Slow.Connections > 0 && p.Target.Scheme == "udp" {
		wrong = append(wrong, errors.New("datagrams are not sent slowly"))
	}
	return wrong
}

// maxDatagram is what fits a block of the pool with its address.
const maxDatagram = 8 << 10
