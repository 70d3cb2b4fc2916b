package doctor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Load is what a capacity plan is for.
type Load struct {
	// Connections is how many clients there are to be at a time.
	Connections int
	// Sources is from how many addresses a proxy dials, Destinations to how many; 0 counts as 1.
	Sources, Destinations int
}

// Plan is what a host needs for so many connections, and what it has. In JSON:
//
//	connections    how many it is for
//	resources      of each:
//	  name         memory, descriptors ...
//	  unit         "bytes", "descriptors" ... of need and have
//	  need, have   for that many connections from clients
//	  holds        how many connections from clients what it has is enough for
//	  proxied      how many when each brings another one along, to an upstream
//	  why          where the numbers come from
//	  fix          what to do; absent if there is enough
//	  settings     as in a finding
//	first          the name of the resource that ends first, for clients alone
//	first_proxied  the same for a proxy
//	notes          what could not be read
type Plan struct {
	Connections  int        `json:"connections"`
	Resources    []Resource `json:"resources"`
	First        string     `json:"first"`
	FirstProxied string     `json:"first_proxied"`
	Notes        []Note     `json:"notes"`
}

// Resource is one row of a plan. Holds and Proxied are Unlimited where it bounds nothing.
type Resource struct {
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	Need     int64     `json:"need"`
	Have     int64     `json:"have"`
	Holds    int64     `json:"holds"`
	Proxied  int64     `json:"proxied"`
	Why      string    `json:"why"`
	Fix      string    `json:"fix,omitempty"`
	Settings []Setting `json:"settings,omitempty"`
}

// What an idle connection costs, in bytes: docs/million.md measured 4.4 KiB in the kernel and 122 bytes in the server,
// and both are rounded up.
const (
	kernelConnectionBytes = 4608
	serverConnectionBytes = 256
	serverBytes           = 64 << 20 // the server itself and its blocks for bytes on their way
)

// A connection has bytes in the kernel's buffers now and then. Where the host has too few connections to tell, one in a
// hundred is taken to have a full packet of 64 KiB there.
const (
	busyOneIn        = 100
	busyBytes        = 64 << 10
	enoughToMeasure  = 1000
	serverOwn        = 64 // descriptors besides connections, as the server reserves them
	returnSeconds    = 10 // in which all clients come back after a restart
	stallMillisecond = 100
)

// PlanFor compares what a host has with what a load needs. What it cannot read is a note and no row.
func PlanFor(h *Host, l Load) *Plan {
	l.Sources, l.Destinations = max(l.Sources, 1), max(l.Destinations, 1)
	p := &Plan{Connections: l.Connections, Notes: []Note{}}
	for _, row := range []struct {
		name string
		read func(*Host, Load) (Resource, error)
	}{
		{"memory", planMemory},
		{"TCP buffers", planBuffers},
		{"descriptors", planDescriptors},
		{"ceiling of a process", planCeiling},
		{"files of the host", planFiles},
		{"accept queue", planBacklog},
		{"half-open connections", planHalfOpen},
		{"connection tracking", planConntrack},
		{"ports to dial from", planPorts},
	} {
		r, err := row.read(h, l)
		if err != nil {
			if !errors.Is(err, errNotUsed) {
				p.Notes = append(p.Notes, Note{row.name, err.Error()})
			}
			continue
		}
		r.Name = row.name
		if r.Holds >= int64(l.Connections) && r.Proxied >= int64(l.Connections) {
			r.Fix, r.Settings = "", nil
		}
		p.Resources = append(p.Resources, r)
	}
	slices.SortStableFunc(p.Resources, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Holds, b.Holds), cmp.Compare(a.Proxied, b.Proxied))
	})
	first := func(of func(Resource) int64) string {
		if len(p.Resources) == 0 {
			return ""
		}
		return slices.MinFunc(p.Resources, func(a, b Resource) int { return cmp.Compare(of(a), of(b)) }).Name
	}
	p.First = first(func(r Resource) int64 { return r.Holds })
	p.FirstProxied = first(func(r Resource) int64 { return r.Proxied })
	return p
}

// errNotUsed leaves a row out: the host has no such thing.
var errNotUsed = errors.New("not used")

// Settings are those of all resources that fall short.
func (p *Plan) Settings() []Setting {
	var all []Setting
	for _, r := range p.Resources {
		all = append(all, r.Settings...)
	}
	return all
}

// shared is how many connections a resource is enough for that each takes one unit of, and a proxied one two.
func shared(r Resource, reserved int64) Resource {
	r.Holds = max(r.Have-reserved, 0)
	r.Proxied = r.Holds / 2
	return r
}

func planMemory(h *Host, l Load) (Resource, error) {
	available, err := h.memoryFact("meminfo", "MemAvailable")
	if err != nil {
		return Resource{}, err
	}
	r := Resource{Unit: "bytes", Have: available, Why: byteSize(available) + " are available"}
	groups, err := h.controlGroups("memory")
	if err != nil { // what the machine has is worth knowing without
		r.Why += fmt.Sprintf(" (limits of control groups could not be read: %v)", err)
	}
	for _, g := range groups {
		m, err := h.memoryOf(g)
		if err != nil {
			return Resource{}, err
		}
		if most := min(m.limit, m.high); most != Unlimited && most-m.used+m.cached < r.Have {
			r.Have = max(most-m.used+m.cached, 0)
			r.Why = fmt.Sprintf("the control group /sys/%s has %s left", g.folder, byteSize(r.Have))
		}
	}
	each, measured, err := h.bufferBytes()
	if err != nil {
		return Resource{}, err
	}
	connection := int64(kernelConnectionBytes + serverConnectionBytes + each)
	r.Need = serverBytes + connection*int64(l.Connections)
	r.Holds = max(r.Have-serverBytes, 0) / connection
	r.Proxied = max(r.Have-serverBytes, 0) / (2 * connection)
	r.Why += fmt.Sprintf("; a connection takes %d bytes in the kernel, %d in the server and %d in buffers (%s)",
		kernelConnectionBytes, serverConnectionBytes, each, measured)
	r.Fix = "more memory, or a higher limit of the control group"
	return r, nil
}

// bufferBytes is what a connection has in the kernel's buffers on average.
func (h *Host) bufferBytes() (each int, how string, err error) {
	inUse, err := h.Sockstat("TCP", "inuse")
	if err != nil {
		return 0, "", err
	}
	pages, err := h.Sockstat("TCP", "mem")
	if err != nil {
		return 0, "", err
	}
	if inUse < enoughToMeasure {
		return busyBytes / busyOneIn, "taken: one in a hundred has 64 KiB there", nil
	}
	return int(pages * pageBytes / inUse), fmt.Sprintf("as measured now: %d pages for %d sockets", pages, inUse), nil
}

const pageBytes = 4096

func planBuffers(h *Host, l Load) (Resource, error) {
	limits, err := h.SysctlNumbers("net.ipv4.tcp_mem", 3)
	if err != nil {
		return Resource{}, err
	}
	each, how, err := h.bufferBytes()
	if err != nil {
		return Resource{}, err
	}
	r := Resource{
		Unit: "bytes", Need: int64(each) * int64(l.Connections), Have: limits[1] * pageBytes,
		Why: fmt.Sprintf("net.ipv4.tcp_mem: pressure from %d pages on; %d bytes a connection, %s", limits[1], each, how),
	}
	r.Holds, r.Proxied = Unlimited, Unlimited
	if each > 0 {
		r.Holds, r.Proxied = r.Have/int64(each), r.Have/int64(each)/2
	}
	want := slices.Clone(limits)
	for i := range want {
		want[i] = max(want[i], (r.Need*2/pageBytes+1)*int64(i+2)/3)
	}
	r.Fix, r.Settings = raise("net.ipv4.tcp_mem", join(limits), join(want))
	return r, nil
}

func join(numbers []int64) string { return strings.Trim(fmt.Sprint(numbers), "[]") }

// raise is a setting with its command.
func raise(key, have, want string) (fix string, settings []Setting) {
	return fmt.Sprintf("sysctl -w %s='%s'", key, want), []Setting{{key, have, want}}
}

func planDescriptors(h *Host, l Load) (Resource, error) {
	asked, who := *h, fmt.Sprintf("process %d", h.PID)
	if asked.PID == 0 {
		// Nobody's in particular: what a program gets that is started from here.
		asked.PID, who = os.Getpid(), "this program"
	}
	limit, err := asked.Limit("Max open files")
	if err != nil {
		return Resource{}, err
	}
	need := int64(l.Connections) + serverOwn
	r := shared(Resource{Unit: "descriptors", Need: need, Have: limit.Hard}, serverOwn)
	r.Why = fmt.Sprintf("RLIMIT_NOFILE of %s is %d, at most %d; with io_uring Myriad holds connections that "+
		"take none (engine.direct: always)", who, limit.Soft, limit.Hard)
	want := strconv.FormatInt(2*int64(l.Connections)+serverOwn, 10)
	r.Fix = "LimitNOFILE=" + want + " of the service, or ulimit -n " + want
	r.Settings = []Setting{{"LimitNOFILE", strconv.FormatInt(limit.Hard, 10), want}}
	return r, nil
}

func planCeiling(h *Host, l Load) (Resource, error) {
	have, err := h.SysctlNumber("fs.nr_open")
	if err != nil {
		return Resource{}, err
	}
	r := shared(Resource{Unit: "descriptors", Need: int64(l.Connections) + serverOwn, Have: have}, serverOwn)
	r.Why = fmt.Sprintf("fs.nr_open is %d: no RLIMIT_NOFILE can be more", have)
	want := strconv.FormatInt(max(roundUp(2*int64(l.Connections)+serverOwn), have), 10)
	r.Fix, r.Settings = raise("fs.nr_open", strconv.FormatInt(have, 10), want)
	return r, nil
}

func planFiles(h *Host, l Load) (Resource, error) {
	numbers, err := h.SysctlNumbers("fs.file-nr", 3)
	if err != nil {
		return Resource{}, err
	}
	open := numbers[0] - numbers[1]
	r := shared(Resource{Unit: "files", Need: int64(l.Connections) + open, Have: numbers[2]}, open)
	r.Why = fmt.Sprintf("fs.file-max is %d, and %d are open; a connection is a file, with a descriptor or without",
		numbers[2], open)
	want := strconv.FormatInt(max(2*int64(l.Connections)+open+1<<16, numbers[2]), 10)
	r.Fix, r.Settings = raise("fs.file-max", strconv.FormatInt(numbers[2], 10), want)
	return r, nil
}

// arriving is how many clients come while the server is busy with something else for a moment, if all of them come back
// at once.
func arriving(l Load) int64 {
	return max(int64(l.Connections)*stallMillisecond/(returnSeconds*1000), 1)
}

// queued fills in a queue that has to hold who arrives.
func queued(r Resource, l Load) Resource {
	r.Need, r.Unit = arriving(l), "connections"
	r.Holds = math.MaxInt64
	if r.Have < math.MaxInt64/(returnSeconds*1000) {
		r.Holds = r.Have * returnSeconds * 1000 / stallMillisecond
	}
	r.Proxied = r.Holds // what it dials waits elsewhere
	r.Why += fmt.Sprintf("; all clients come back within %d s of a restart, and the server looks away for %d ms",
		returnSeconds, stallMillisecond)
	return r
}

func planBacklog(h *Host, l Load) (Resource, error) {
	have, err := h.SysctlNumber(backlogLimit)
	if err != nil {
		return Resource{}, err
	}
	r := queued(Resource{Have: have, Why: fmt.Sprintf("%s is %d", backlogLimit, have)}, l)
	want := max(roundUp(r.Need), have)
	r.Fix, r.Settings = raise(backlogLimit, strconv.FormatInt(have, 10), strconv.FormatInt(want, 10))
	return r, nil
}

func planHalfOpen(h *Host, l Load) (Resource, error) {
	have, err := h.SysctlNumber(synBacklog)
	if err != nil {
		return Resource{}, err
	}
	cookies, err := h.SysctlNumber(synCookies)
	if err != nil {
		return Resource{}, err
	}
	r := queued(Resource{Have: have, Why: fmt.Sprintf("%s is %d", synBacklog, have)}, l)
	want := max(roundUp(r.Need), have)
	r.Fix, r.Settings = raise(synBacklog, strconv.FormatInt(have, 10), strconv.FormatInt(want, 10))
	if cookies != 0 {
		r.Holds, r.Proxied = Unlimited, Unlimited
		r.Why += "; beyond it SYN cookies answer, so that it is no wall"
	}
	return r, nil
}

func planConntrack(h *Host, l Load) (Resource, error) {
	count, ok, err := h.conntracked()
	if err != nil {
		return Resource{}, err
	}
	if !ok || count == 0 {
		return Resource{}, errNotUsed
	}
	most, err := h.SysctlNumber(conntrackMost)
	if err != nil {
		return Resource{}, err
	}
	r := shared(Resource{Unit: "entries", Need: int64(l.Connections) + count, Have: most}, count)
	r.Why = fmt.Sprintf("%s is %d, and %d are in use", conntrackMost, most, count)
	want := strconv.FormatInt(max(roundUp(2*int64(l.Connections)+count), most), 10)
	r.Fix, r.Settings = raise(conntrackMost, strconv.FormatInt(most, 10), want)
	return r, nil
}

func planPorts(h *Host, l Load) (Resource, error) {
	ports, err := h.portRange()
	if err != nil {
		return Resource{}, err
	}
	routes := int64(l.Sources) * int64(l.Destinations)
	r := Resource{
		Unit: "ports", Need: int64(l.Connections), Have: int64(ports.free()) * routes, Holds: Unlimited,
		Why: fmt.Sprintf("%s is %v: %d ports for each of %d pairs of source and destination; clients take none",
			portRange, ports, ports.free(), routes),
	}
	r.Proxied = r.Have
	wide := ports.widest()
	if wide.free() > ports.free() {
		r.Fix, r.Settings = raise(portRange, ports.String(), wide.String())
	}
	if int64(wide.free())*routes < int64(l.Connections) {
		pairs := (l.Connections + wide.free() - 1) / max(wide.free(), 1)
		r.Fix = strings.TrimPrefix(r.Fix+"; ", "; ") + fmt.Sprintf("%d pairs of source and destination address", pairs)
	}
	return r, nil
}

// JSON writes the plan as its comment describes it.
func (p *Plan) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(p)
}

// Text writes the plan as a table, and below it what falls short.
func (p *Plan) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "For %s connections\n\n", grouped(int64(p.Connections)))
	fmt.Fprintf(&b, "%-22s %13s %13s %14s %14s\n", "", "need", "have", "enough for", "if proxied")
	for _, r := range p.Resources {
		fmt.Fprintf(&b, "%-22s %13s %13s %14s %14s\n", r.Name, amount(r.Need, r.Unit), amount(r.Have, r.Unit),
			grouped(r.Holds), grouped(r.Proxied))
	}
	b.WriteByte('\n')
	for _, r := range p.Resources {
		if r.Name == p.First {
			wrap(&b, "First wall: ", fmt.Sprintf("%s, at %s connections", r.Name, grouped(r.Holds)))
		}
	}
	for _, r := range p.Resources {
		if r.Name == p.FirstProxied {
			wrap(&b, "First wall of a proxy: ", fmt.Sprintf("%s, at %s connections", r.Name, grouped(r.Proxied)))
		}
	}
	for _, r := range p.Resources {
		if r.Fix == "" {
			continue
		}
		b.WriteByte('\n')
		wrap(&b, r.Name+": ", r.Why)
		command(&b, "  fix  ", r.Fix)
	}
	for _, n := range p.Notes {
		wrap(&b, "could not tell: ", n.Check+": "+n.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// amount writes a number of a unit.
func amount(n int64, unit string) string {
	if unit == "bytes" && n != Unlimited {
		return byteSize(n)
	}
	return grouped(n)
}

// grouped writes a number in groups of three digits; what is far beyond any machine is "any".
func grouped(n int64) string {
	const beyond = 1 << 40
	if n >= beyond {
		return "any"
	}
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// Connections reads a number of connections as people write it: 250000, 250k, 1M.
func Connections(text string) (int, error) {
	digits, factor := strings.TrimSpace(text), 1
	for _, unit := range []struct {
		letter string
		factor int
	}{{"k", 1000}, {"K", 1000}, {"m", 1000000}, {"M", 1000000}} {
		if rest, ok := strings.CutSuffix(digits, unit.letter); ok {
			digits, factor = rest, unit.factor
			break
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n*float64(factor) >= 1 && n*float64(factor) <= 1e9) {
		return 0, fmt.Errorf("%q is no number of connections: write such as 20000, 100k or 1M", text)
	}
	return int(n * float64(factor)), nil
}
