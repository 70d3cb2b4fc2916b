package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// rules checks what no key can be checked for alone: keys against each other, names against what this program has, and
// directories against the file system.
type rules struct {
	config *Config
	known  Known
	source *source
	// What follows from the problem of a key by itself is not said again: blamed holds the keys that have one, above
	// all keys at or above one of them.
	blamed, above map[string]bool

	problems Problems
	warnings Problems
}

func (r *rules) run() {
	r.blamed, r.above = make(map[string]bool), make(map[string]bool)
	for _, problem := range r.problems {
		r.blamed[problem.Path] = problem.Path != ""
		for path := problem.Path; path != ""; path = parent(path) {
			r.above[path] = true
		}
	}
	r.listeners()
	r.limits()
	r.engine()
	r.logs()
	r.tracing()
	r.bus()
	r.routes()
	r.upstreams()
}

// refuse reports an error at the first of the paths that a file or a flag has said.
func (r *rules) refuse(message, mend string, paths ...string) {
	if problem, ok := r.problem(message, mend, paths); ok {
		r.problems = append(r.problems, problem)
	}
}

// refuseName is refuse for the name of a value in a mapping.
func (r *rules) refuseName(message, mend, path string) {
	problem, ok := r.problem(message, mend, []string{path})
	if at, known := r.source.names[path]; known {
		problem = r.source.point(problem, at)
	}
	if ok {
		r.problems = append(r.problems, problem)
	}
}

// warn is refuse for what can be run but is probably not meant.
func (r *rules) warn(message, mend string, paths ...string) {
	if problem, ok := r.problem(message, mend, paths); ok {
		r.warnings = append(r.warnings, problem)
	}
}

func (r *rules) problem(message, mend string, paths []string) (Problem, bool) {
	for _, path := range paths {
		if r.above[path] {
			return Problem{}, false
		}
		for outer := path; outer != ""; outer = parent(outer) {
			if r.blamed[outer] {
				return Problem{}, false
			}
		}
	}
	blamed := paths[0]
	for _, path := range slices.Backward(paths) {
		if r.source.said(path) {
			blamed = path
		}
	}
	return r.source.locate(Problem{Path: blamed, Message: message, Mend: mend}), true
}

func (r *rules) listeners() {
	if len(r.config.Listeners) == 0 {
		r.refuse("there is nothing to listen on", `write at least one, as in [{address: ":8080"}]`, "listeners")
	}
	for i, l := range r.config.Listeners {
		path := item("listeners", i)
		address := child(path, "address")
		r.wholeSeconds(path+".keepalive.idle", time.Duration(l.KeepAlive.Idle))
		r.wholeSeconds(path+".keepalive.interval", time.Duration(l.KeepAlive.Interval))
		r.wholeSeconds(path+".defer_accept", time.Duration(l.DeferAccept))
		if l.Address.Network == "" {
			message, mend := "there is no address", addressMend
			if l.Address.text != "" {
				_, err := parseAddress(l.Address.text)
				message, mend = split(err)
			}
			r.refuse(message, mend, address)
			continue
		}
		if l.Address.Network == TCP {
			r.congestion(l.Congestion, child(path, "congestion"))
		}
		r.socketFile(address, l.Address)
		if l.Address.Network == UDP && l.Protocol == HTTP {
			r.refuse("over udp there is no http", "write protocol: echo or discard", child(path, "protocol"), address)
		}
		for j, earlier := range r.config.Listeners[:i] {
			r.pair(address, l, child(item("listeners", j), "address"), earlier)
		}
	}
}

// pair checks two listeners for one address.
func (r *rules) pair(path string, l Listener, earlierPath string, earlier Listener) {
	a, b := l.Address, earlier.Address
	if a.Network != b.Network {
		return
	}
	if a.Network == Unix {
		if a.Path == b.Path {
			r.refuse(fmt.Sprintf("%s is listened on already, by %s", a, earlierPath), "keep one of the two", path)
		}
		return
	}
	if a.Port != b.Port || a.Port == 0 {
		return
	}
	first, second := a.AddrPort().Addr().Unmap(), b.AddrPort().Addr().Unmap()
	bothFamilies := first.Is4() == second.Is4() || first.IsUnspecified() && first.Is6() && !l.V6Only ||
		second.IsUnspecified() && second.Is6() && !earlier.V6Only
	switch {
	case first == second, bothFamilies && first.IsUnspecified() && second.IsUnspecified():
		r.refuse(fmt.Sprintf("%s is listened on already, by %s", a, earlierPath), "keep one of the two", path)
	case bothFamilies && (first.IsUnspecified() || second.IsUnspecified()):
		r.warn(fmt.Sprintf("%s and %s of %s overlap: the kernel may refuse the second", a, b, earlierPath),
			"keep the wider one", path)
	}
}

func (r *rules) wholeSeconds(path string, d time.Duration) {
	if d%time.Second != 0 {
		whole := Duration(max(d.Round(time.Second), time.Second))
		r.refuse(fmt.Sprintf("the kernel counts whole seconds, and %s is none", Duration(d)),
			fmt.Sprintf("did you mean %s?", whole), path)
	}
}

func (r *rules) limits() {
	limits, timeouts := r.config.Limits, r.config.Timeouts
	if block := r.config.Engine.Block; limits.Head > block {
		r.refuse(fmt.Sprintf("a head of %s does not fit in a block (engine.block) of %s", limits.Head, block),
			fmt.Sprintf("lower limits.head to %s, or raise engine.block to %s", block, limits.Head),
			"limits.head", "engine.block")
	}
	if limits.Target > limits.Head {
		r.refuse(fmt.Sprintf("a target of %s does not fit in a head (limits.head) of %s", limits.Target, limits.Head),
			fmt.Sprintf("lower limits.target to %s, or raise limits.head", limits.Head),
			"limits.target", "limits.head")
	}
	for _, part := range []struct {
		path  string
		value Duration
	}{{"timeouts.head", timeouts.Head}, {"timeouts.body", timeouts.Body}, {"timeouts.write", timeouts.Write}} {
		// A default that a shorter request cuts off is no mistake: only what was said is.
		if r.source.said(part.path) && time.Duration(part.value) > time.Duration(timeouts.Request) {
			r.warn(fmt.Sprintf("%s never passes: the whole request (timeouts.request) may take %s", part.value,
				timeouts.Request), "lower it, or raise timeouts.request", part.path)
		}
	}
}

func (r *rules) engine() {
	e := r.config.Engine
	r.name("engine.driver", "driver", e.Driver, r.known.Drivers, "auto")
	r.name("engine.model", "model", e.Model, r.known.Models)
	r.name("engine.balance", "policy", e.Balance, r.known.Policies)
	if e.Loops != 0 && slices.Contains(r.known.Loopless, e.Model) {
		r.refuse(fmt.Sprintf("the %s model has no event loops to have %d of", e.Model, e.Loops), r.loopsMend(),
			"engine.loops", "engine.model")
	}
	if e.Processes > 0 && e.ProcessModel == ProcessShared && e.Driver == "rtsig" {
		r.refuse("real-time signals of a socket have one owner, and under shared all workers accept from one socket",
			"write process_model: reuseport, or choose another driver", "engine.process_model", "engine.driver")
	}
	r.ports()
	if e.Block&(e.Block-1) != 0 {
		lower := Size(1) << int(math.Log2(float64(e.Block)))
		r.refuse(fmt.Sprintf("a block of %s is no power of two", e.Block),
			fmt.Sprintf("write %s or %s", lower, lower*2), "engine.block")
	}
}

// loopsMend is what to write instead of a number of loops for a model that has none.
func (r *rules) loopsMend() string {
	mend := "write auto"
	for _, model := range r.known.Models {
		if !slices.Contains(r.known.Loopless, model) {
			mend += ", or engine.model: " + model
		}
	}
	if r.config.Engine.Model == "workpool" {
		mend += "; engine.workers is how many connections it serves at a time"
	}
	return mend
}

func (r *rules) name(path, kind, name string, list []string, more ...string) {
	if len(list) == 0 && name != "" {
		return
	}
	if all := slices.Concat(more, list); !slices.Contains(all, name) {
		r.refuse(fmt.Sprintf("there is no %s %q", kind, name), suggestWord(name, all), path)
	}
}

func (r *rules) logs() {
	access := r.config.AccessLog
	if access.Format == AccessOff && access.Path != "" {
		r.warn("nothing is written here while the format is off", "write format: json or combined", "access_log.path")
	}
	if access.Format == AccessOff && access.Sample != 1 {
		r.warn("nothing is sampled while the format is off", "write format: json or combined", "access_log.sample")
	}
	if strings.ContainsRune(access.Path, 0) {
		r.refuse("the path holds a zero byte", "write the path of a file", "access_log.path")
	} else if access.Path != "" && access.Format != AccessOff {
		r.logFile(access.Path, "access_log.path")
	}
	r.headerValue("server.name", r.config.Server.Name)
}

// ports makes sure that the workers' ports do not reach beyond the last there is.
func (r *rules) ports() {
	e := r.config.Engine
	if e.Processes == 0 || e.ProcessModel != ProcessPorts {
		return
	}
	for i, l := range r.config.Listeners {
		const last = 65_535
		if l.Address.Network == TCP && l.Address.Port != 0 && int(l.Address.Port)+e.Processes > last {
			r.refuse(fmt.Sprintf("under ports %d workers have the ports above %d, and the last there is is 65535", e.Processes,
				l.Address.Port), "choose a lower port", fmt.Sprintf("listeners[%d].address", i), "engine.processes")
		}
	}
}
