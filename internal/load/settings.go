package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Settings is a plan as people write it: every field is a flag of the command and a key of the scenario file, of the
// same name. Nil means that it was not said.
type Settings struct {
	Target *string `yaml:"target" kong:"-"`

	Connections *int           `yaml:"connections" short:"c" help:"Active connections (64)."`
	Duration    *time.Duration `yaml:"duration" short:"d" help:"How long is measured (10s)."`
	Requests    *uint64        `yaml:"requests" short:"n" help:"End after so many requests."`
	Warmup      *time.Duration `yaml:"warmup" help:"Ask so long before anything is counted."`
	Ramp        *time.Duration `yaml:"ramp" help:"Connections join in one by one over this time."`
	Threads     *int           `yaml:"threads" short:"t" help:"Loops, each with its thread (1)."`

	Rate     *float64 `yaml:"rate" short:"r" help:"Open loop: so many requests a second are due."`
	Stages   []string `yaml:"stages" name:"stage" sep:"none" help:"Open loop: RATE/TIME, or RATE-RATE/TIME; repeat it."`
	Arrivals *string  `yaml:"arrivals" help:"Open loop: constant or poisson (constant)."`
	Backlog  *int     `yaml:"backlog" help:"Open loop: requests that may wait for a connection (100000)."`

	Think     *time.Duration `yaml:"think" help:"Closed loop: between an answer and the next request."`
	Pipeline  *int           `yaml:"pipeline" help:"Requests at a time on a connection (1)."`
	PerSocket *int           `yaml:"per-connection" name:"per-connection" help:"Requests of a connection (no end)."`
	KeepAlive *bool          `yaml:"keep-alive" negatable:"" help:"Or --no-keep-alive: one request each."`
	Reset     *bool          `yaml:"reset" help:"Close connections with a reset, which leaves no TIME_WAIT."`
	Timeout   *time.Duration `yaml:"timeout" help:"Of a request, and of a connect (10s)."`

	Idle      *int  `yaml:"idle" help:"Connections that only are there."`
	Touch     *bool `yaml:"touch" negatable:"" help:"Or --no-touch: idle connections do not ask once first."`
	Slow      *int  `yaml:"slow" help:"Connections that take their time."`
	SlowRead  *int  `yaml:"slow-read" help:"Bytes a second at which they read (1024 if nothing is said)."`
	SlowWrite *int  `yaml:"slow-write" help:"Bytes a second at which they write."`

	Method       *string  `yaml:"method" short:"X" help:"HTTP: GET, or POST when there is a body."`
	Headers      []string `yaml:"headers" name:"header" short:"H" sep:"none" help:"HTTP: a field as Name: value."`
	Body         *string  `yaml:"body" help:"HTTP: the content of each request."`
	ExpectStatus *int     `yaml:"expect-status" help:"HTTP: the one status that is no error."`
	ExpectBody   *string  `yaml:"expect-body" help:"HTTP: what each answer must be."`

	Pattern     *string `yaml:"pattern" help:"Not HTTP: echo, pingpong, upload or download (echo)."`
	Bytes       *int    `yaml:"bytes" help:"Not HTTP: of a request (64)."`
	AnswerBytes *int    `yaml:"answer-bytes" help:"Not HTTP: of an answer; as many as a request has."`

	Sources []string `yaml:"sources" name:"source" sep:"none" help:"Local address, or several as 127.0.9.0/28."`
	Driver  *string  `yaml:"driver" help:"See myriad drivers (auto)."`
	Seed    *uint64  `yaml:"seed" help:"Of random arrivals (1)."`
	PID     *int     `yaml:"pid" name:"pid" help:"The server's process, if it is not found by itself."`
}

// Over returns the settings of s where they were said, and otherwise those of below.
func (s Settings) Over(below Settings) Settings {
	top, bottom := reflect.ValueOf(&s).Elem(), reflect.ValueOf(below)
	for i := range top.NumField() {
		if top.Field(i).IsNil() {
			top.Field(i).Set(bottom.Field(i))
		}
	}
	return s
}

// said reports whether a key has a value.
func (s Settings) said(key string) bool {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return !v.Field(i).IsNil()
		}
	}
	return false
}

// keysOf returns the name of each key as a flag.
func keysOf() map[string]string {
	names := map[string]string{}
	kind := reflect.TypeFor[Settings]()
	for i := range kind.NumField() {
		tag := kind.Field(i).Tag
		key := tag.Get("yaml")
		if names[key] = key; tag.Get("name") != "" {
			names[key] = tag.Get("name")
		}
	}
	return names
}

// Fault is a setting that cannot be.
type Fault struct {
	Key     string // of the scenario file
	Message string
}

// Error is the key and the message.
func (f Fault) Error() string { return f.Key + ": " + f.Message }

// Plan makes a plan of the settings; the faults are all that is wrong with them.
func (s Settings) Plan(ctx context.Context) (Plan, []Fault) {
	p := Default()
	var faults []Fault
	if s.Target == nil {
		return p, []Fault{{"target", "what is to be put under load is missing, such as http://127.0.0.1:8080/"}}
	}
	var err error
	if p.Target, err = ParseTarget(ctx, *s.Target); err != nil {
		faults = append(faults, Fault{"target", err.Error()})
	}
	set(&p.Connections, s.Connections)
	set(&p.Duration, s.Duration)
	set(&p.Requests, s.Requests)
	set(&p.WarmUp, s.Warmup)
	set(&p.RampUp, s.Ramp)
	set(&p.Threads, s.Threads)
	set(&p.Backlog, s.Backlog)
	set(&p.Think, s.Think)
	set(&p.Pipeline, s.Pipeline)
	set(&p.PerConnect, s.PerSocket)
	set(&p.Reset, s.Reset)
	set(&p.Timeout, s.Timeout)
	set(&p.Idle, s.Idle)
	set(&p.Touch, s.Touch)
	set(&p.Slow.Connections, s.Slow)
	set(&p.Slow.Read, s.SlowRead)
	set(&p.Slow.Write, s.SlowWrite)
	set(&p.Driver, s.Driver)
	set(&p.Seed, s.Seed)
	set(&p.PID, s.PID)
	if s.PID != nil {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", *s.PID)); *s.PID < 1 || err != nil {
			faults = append(faults, Fault{"pid", fmt.Sprintf("there is no process %d", *s.PID)})
		}
	}
	if p.Slow.Connections > 0 && s.SlowRead == nil && s.SlowWrite == nil {
		p.Slow.Read = 1024
	}
	if s.KeepAlive != nil && !*s.KeepAlive {
		if p.PerConnect > 1 {
			faults = append(faults, Fault{"keep-alive", "off, it says one request; per-connection says more"})
		}
		p.PerConnect = 1
	}
	if s.Requests != nil && s.Duration == nil {
		p.Duration = endless // the requests end the run
	}
	s.request(&p.Request)
	faults = append(faults, s.stages(&p)...)
	faults = append(faults, s.sources(&p)...)
	faults = append(faults, s.useless(&p)...)
	for _, f := range p.faults() {
		if s.Rate != nil && strings.HasPrefix(f.Key, "stages") {
			f = Fault{"rate", fmt.Sprintf("it is %v; it must be more than 0, and %.0f at most", *s.Rate, rateMost)}
		}
		faults = append(faults, f)
	}
	return p, faults
}

// useless is the settings that were said and have no effect. Whoever says them means something else.
func (s *Settings) useless(p *Plan) (faults []Fault) {
	for _, group := range []struct {
		useless bool
		why     string
		keys    []string
	}{
		{
			!p.Open() && s.Rate == nil && len(s.Stages) == 0, "it is for an open loop, and neither a rate nor stages are said",
			[]string{"arrivals", "backlog"},
		},
		{
			p.Target.Scheme != "" && !p.Target.HTTP(), "it is for HTTP, which is not spoken with this target",
			[]string{"method", "headers", "body", "expect-status", "expect-body"},
		},
		{p.Target.HTTP(), "it is for targets that HTTP is not spoken with", []string{"pattern", "bytes", "answer-bytes"}},
		{p.Slow.Connections == 0, "it is for slow connections, and there are none", []string{"slow-read", "slow-write"}},
	} {
		for _, key := range group.keys {
			if group.useless && s.said(key) {
				faults = append(faults, Fault{key, group.why})
			}
		}
	}
	return faults
}

// endless is the duration of a run that a number of requests ends.
const endless = 24 * time.Hour

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Settings) request(r *Request) {
	if s.Body != nil {
		r.Body, r.Method = []byte(*s.Body), "POST"
	}
	set(&r.Method, s.Method)
	r.Headers = s.Headers
	set(&r.Status, s.ExpectStatus)
	if s.ExpectBody != nil {
		r.Expect = []byte(*s.ExpectBody)
	}
	if s.Pattern != nil {
		r.Pattern = Pattern(*s.Pattern)
	}
	set(&r.Bytes, s.Bytes)
	set(&r.AnswerBytes, s.AnswerBytes)
}

// stages reads what makes an open loop.
func (s *Settings) stages(p *Plan) (faults []Fault) {
	if s.Arrivals != nil {
		p.Arrivals = Arrivals(*s.Arrivals)
	}
	switch {
	case s.Rate != nil && len(s.Stages) > 0:
		return []Fault{{"rate", "there are stages, too: say one of them"}}
	case s.Rate != nil:
		p.Stages = []Stage{{From: *s.Rate, To: *s.Rate, For: p.WarmUp + p.Duration}}
	}
	for i, text := range s.Stages {
		stage, err := ParseStage(text)
		if err != nil {
			faults = append(faults, Fault{fmt.Sprintf("stages[%d]", i), err.Error()})
		}
		p.Stages = append(p.Stages, stage)
	}
	if len(faults) > 0 {
		p.Stages = nil // one fault is enough
		return faults
	}
	if len(s.Stages) > 0 {
		if s.Duration != nil {
			return append(faults, Fault{"duration", "the stages say how long the run is"})
		}
		p.Duration = max(stagesLength(p.Stages)-p.WarmUp, 0)
	}
	return faults
}

// ParseStage reads a stage: a rate or two, and a time, such as 1000/10s or 100-5000/1m.
func ParseStage(text string) (Stage, error) {
	rates, length, _ := strings.Cut(text, "/")
	first, second, two := strings.Cut(rates, "-")
	if !two {
		second = first
	}
	from, err1 := strconv.ParseFloat(first, 64)
	to, err2 := strconv.ParseFloat(second, 64)
	d, err3 := time.ParseDuration(length)
	if err1 != nil || err2 != nil || err3 != nil {
		return Stage{}, fmt.Errorf("the stage %q must be a rate and a time as 1000/10s, or two rates as 100-1000/10s", text)
	}
	return Stage{from, to, d}, nil
}

// sourcesMost bounds how many addresses a prefix stands for.
const sourcesMost = 4096

func (s *Settings) sources(p *Plan) (faults []Fault) {
	for i, text := range s.Sources {
		key := fmt.Sprintf("sources[%d]", i)
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				faults = append(faults, Fault{key, fmt.Sprintf("%q is no address, and no prefix as 127.0.9.0/28", text)})
				continue
			}
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		if !available(prefix.Addr()) {
			faults = append(faults, Fault{key, fmt.Sprintf("%v is no address of this machine", prefix.Addr())})
			continue
		}
		before := len(p.Sources)
		for ip := prefix.Masked().Addr(); prefix.Contains(ip) && len(p.Sources)-before < sourcesMost; ip = ip.Next() {
			p.Sources = append(p.Sources, ip)
		}
		if to := p.Target.Address.Addr(); to.IsValid() && prefix.Addr().Is4() != to.Is4() {
			faults = append(faults, Fault{key, "it is of another family than the target's address"})
		}
	}
	return faults
}

// available reports whether a socket can be bound to an address here.
func available(ip netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return !errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	return c.Close() == nil
}
