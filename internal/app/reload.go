package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/config"
	"github.com/myriad-server/myriad/serve"
	"github.com/myriad-server/myriad/stream"
	"github.com/myriad-server/myriad/upstream"
)

// Change is what a reload does, or would do.
type Change struct {
	// Listeners, Upstreams and Routes are what is other than before, each with what becomes of it.
	Listeners []Part `json:"listeners"`
	Upstreams []Part `json:"upstreams"`
	Routes    int    `json:"routes_changed"`
	// Connections is how many clients are connected, and Touched how many of them are told to end.
	Connections int64 `json:"connections"`
	Touched     int64 `json:"connections_touched"`
	// Rolled are the keys for whose change new workers take over from those that there are.
	Rolled []string `json:"new_workers_for,omitempty"`
}

// Part is a part of the configuration that is other than before.
type Part struct {
	Name string `json:"name"`
	// Change is "added", "removed", or "changed".
	Change string `json:"change"`
}

// Empty reports that nothing is other than before.
func (c *Change) Empty() bool { return len(c.Listeners)+len(c.Upstreams)+c.Routes == 0 }

// ErrNotServing is told of a reload before the server is ready, or behind its end.
var ErrNotServing = errors.New("the server is not serving")

// fates are those of what is not in effect any more, and not over.
type fates struct {
	mu       sync.Mutex
	gone     []Listener                  // by number; the zero Listener is one that has not gone
	retiring map[*generation]*generation // a generation, and the one that took over from it
}

func (f *fates) listeners() []Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.gone)
}

// retire notes that another generation has taken over.
func (f *fates) retire(was, is *generation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retiring == nil {
		f.retiring = make(map[*generation]*generation)
	}
	f.retiring[was] = is
}

// leave notes a listener that has been taken away.
func (f *fates) leave(front *front) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.gone) <= front.number {
		f.gone = append(f.gone, Listener{})
	}
	f.gone[front.number] = front.about()
}

// over closes what is left of a generation, once.
func (f *fates) over(was *generation) error {
	f.mu.Lock()
	is := f.retiring[was]
	delete(f.retiring, was)
	f.mu.Unlock()
	if is == nil {
		return nil
	}
	return was.close(is)
}

// end closes what is left of all.
func (f *fates) end() error {
	f.mu.Lock()
	var all []*generation
	for was := range f.retiring {
		all = append(all, was)
	}
	f.mu.Unlock()
	var errs []error
	for _, was := range all {
		errs = append(errs, f.over(was))
	}
	return errors.Join(errs...)
}

// reform is a change from one generation to the next, before anything is done.
type reform struct {
	was, is *generation
	kept    map[*front]int // of was: the listener of the next plan that it is
	added   []int          // listeners of the next plan
	removed []*front
	change  Change
}

// Preview is what a reload to a plan would do. Keys that cannot be changed while the server runs are an error, of type
// config.Problems. It waits for nobody: what is in effect does not change when something else takes effect. While
// another process takes over there is nothing to preview, with ErrUpgrading.
func (a *App) Preview(next *Plan) (*Change, error) {
	if a.upgrading.Load() {
		return nil, ErrUpgrading
	}
	r, err := a.reform(next)
	if err != nil {
		return nil, err
	}
	return &r.change, nil
}

// Reload has a plan take the place of the one in effect. It happens wholly, or, with an error, not at all. Connections
// whose listener stays notice nothing: what begins on them from now on is served as the plan says, and what has begun
// ends as it began. Those of listeners that go are told to end, one after the other over half of timeouts.drain, and
// are cut when it is over. While another process takes over nothing is reloaded, with ErrUpgrading.
func (a *App) Reload(next *Plan) (*Change, error) {
	if a.upgrading.Load() { // the new process may have read the configuration already, and would not know
		return nil, ErrUpgrading
	}
	a.reloads.Lock()
	defer a.reloads.Unlock()
	if a.upgrading.Load() { // it has begun meanwhile
		return nil, ErrUpgrading
	}
	if a.steering == nil {
		return nil, ErrNotServing
	}
	r, err := a.reform(next)
	if err != nil {
		return nil, err
	}
	if err := r.make(); err != nil {
		return nil, err
	}
	r.commit()
	return &r.change, nil
}

// ErrNoSource is told of a server that does not know where its configuration came from.
var ErrNoSource = errors.New("the server cannot read its configuration again")

// Again reloads what the configuration came from, or, to preview, only says what that would do.
func (a *App) Again(preview bool) (*Change, error) {
	if a.options.Plan == nil {
		return nil, ErrNoSource
	}
	next, err := a.options.Plan()
	if err != nil {
		return nil, err
	}
	if preview {
		return a.Preview(next)
	}
	return a.Reload(next)
}

// reform compares a plan with what is in effect.
func (a *App) reform(next *Plan) (*reform, error) {
	was := a.now()
	found := was.plan.Config.Fixed(next.Config)
	r := &reform{was: was, is: &generation{App: a, plan: next, before: was}, kept: make(map[*front]int)}
	for i := range next.Config.Listeners {
		l := &next.Config.Listeners[i]
		f := r.same(l)
		switch {
		case f == nil:
			r.added = append(r.added, i)
			r.change.Listeners = append(r.change.Listeners, Part{l.Address.String(), "added"})
			continue
		case l.Protocol != f.config.Protocol && (datagrams(l) || datagrams(f.config)):
			found = append(found, next.Config.Locate(config.Problem{
				Path:    fmt.Sprintf("listeners[%d].protocol", i),
				Message: "what is done with the datagrams of an address cannot change while the server runs",
				Mend:    "start the server anew, or choose another address",
			}))
		case specOf(l, true) != specOf(f.config, true):
			found = append(found, next.Config.Locate(config.Problem{
				Path:    fmt.Sprintf("listeners[%d]", i),
				Message: "the options of a socket cannot change while it is listened on",
				Mend:    "start the server anew, or choose another address",
			}))
		}
		r.kept[f] = i
		if !reflect.DeepEqual(f.config, l) {
			r.change.Listeners = append(r.change.Listeners, Part{l.Address.String(), "changed"})
		}
	}
	if len(found) > 0 {
		return nil, found
	}
	for _, f := range was.fronts {
		if _, stays := r.kept[f]; !stays {
			r.removed = append(r.removed, f)
			r.change.Listeners = append(r.change.Listeners, Part{f.config.Address.String(), "removed"})
		}
	}
	r.compare()
	a.count(r)
	return r, nil
}

func datagrams(l *config.Listener) bool {
	return l.Address.Network == config.UDP || l.Protocol == config.StreamUDP
}

// same is the listener in effect at an address, or nil.
func (r *reform) same(l *config.Listener) *front {
	for _, f := range r.was.fronts {
		if _, taken := r.kept[f]; !taken && f.config.Address == l.Address && datagrams(f.config) == datagrams(l) {
			return f
		}
	}
	return nil
}

// compare finds what routes and upstreams are other than before.
func (r *reform) compare() {
	was, is := r.was.plan.Config, r.is.plan.Config
	for i := range max(len(was.Routes), len(is.Routes)) {
		if i >= len(was.Routes) || i >= len(is.Routes) || !reflect.DeepEqual(was.Routes[i], is.Routes[i]) {
			r.change.Routes++
		}
	}
	for name, before := range was.Upstreams {
		after, stays := is.Upstreams[name]
		switch {
		case !stays:
			r.change.Upstreams = append(r.change.Upstreams, Part{name, "removed"})
		case !reflect.DeepEqual(before, after):
			r.change.Upstreams = append(r.change.Upstreams, Part{name, "changed"})
		}
	}
	for name := range is.Upstreams {
		if _, there := was.Upstreams[name]; !there {
			r.change.Upstreams = append(r.change.Upstreams, Part{name, "added"})
		}
	}
	slices.SortFunc(r.change.Upstreams, func(a, b Part) int { return strings.Compare(a.Name, b.Name) })
}

// make opens what the next generation needs. With an error nothing of it is left.
func (r *reform) make() error {
	g := r.is
	err := g.open()
	for _, f := range r.was.fronts {
		if i, stays := r.kept[f]; stays && err == nil {
			l := &g.plan.Config.Listeners[i]
			g.fronts = append(g.fronts, &front{
				config: l, where: listenerName(i), group: f.group, number: f.number, more: f.more, seats: f.seats,
				web: f.web, tcp: f.tcp, udp: f.udp, of: f.of,
			})
		}
	}
	var begun []*front
	for _, i := range r.added {
		if err != nil {
			break
		}
		var f *front
		var l serve.Listener
		if f, l, err = g.listener(i); err == nil {
			f.number, err = g.steering.Listen(l)
		}
		if err == nil {
			begun = append(begun, f)
		}
	}
	if err == nil {
		return nil
	}
	for _, f := range begun {
		g.depart(f, 0, nil)
	}
	return errors.Join(err, g.close(r.was))
}

// commit has the next generation take over. Nothing fails here but what is logged.
func (r *reform) commit() {
	g, log := r.is, r.is.options.Log
	for name, moved := range g.moved {
		if moved {
			if err := g.upstreams[name].SetEndpoints(g.made[name].Endpoints); err != nil {
				log.Error("the endpoints of an upstream are as they were", "upstream", name, "cause", err)
			}
			g.roll.forget(name)
		}
	}
	g.steering.Each(g.prewarm)
	for _, f := range g.fronts {
		if err := g.takeOver(f); err != nil {
			log.Error("a listener is served as it was", "listener", f.url(), "cause", err)
		}
	}
	slices.SortFunc(g.fronts, func(a, b *front) int { return r.place(a) - r.place(b) })
	g.before = nil
	g.current.Store(g)
	g.fates.retire(r.was, g)
	drain := time.Duration(g.plan.Config.Timeouts.Drain)
	for _, f := range r.removed {
		g.fates.leave(f)
		url := f.url()
		g.depart(f, drain, func() { log.Info("a listener is gone, with its last connection", "url", url) })
	}
	for _, i := range r.added {
		g.listening(g.fronts[i])
	}
	// What has begun under the generation before may still want its upstreams for as long as anything may take to end.
	time.AfterFunc(drain+drainSlack, func() {
		if err := g.fates.over(r.was); err != nil {
			log.Warn("something of the configuration before could not be closed", "cause", err)
		}
	})
	log.Info("reloaded", "routes_changed", r.change.Routes, "upstreams_changed", len(r.change.Upstreams),
		"listeners_changed", len(r.change.Listeners), "connections", r.change.Connections,
		"connections_touched", r.change.Touched)
}

// depart takes a listener away.
func (g *generation) depart(f *front, drain time.Duration, gone func()) {
	if f.udp != nil {
		f.udp.Dismiss() // there is nothing to answer from any more
	}
	for _, number := range f.more {
		g.steering.Leave(number, drain, nil)
	}
	g.steering.Leave(f.number, drain, gone)
}

// place is where a listener stands in the configuration.
func (r *reform) place(f *front) int {
	for i := range r.is.plan.Config.Listeners {
		if f.config == &r.is.plan.Config.Listeners[i] {
			return i
		}
	}
	return len(r.is.plan.Config.Listeners)
}

// takeOver has a listener that stays do what the generation says.
func (g *generation) takeOver(f *front) error {
	var before *front
	for _, was := range g.before.fronts {
		if was.number == f.number {
			before = was
		}
	}
	if before == nil {
		return nil // it has just begun
	}
	switch protocol := f.config.Protocol; {
	case f.udp != nil:
		o, err := g.datagramOptions(f)
		if err != nil || sameOptions(f.of, o) {
			return err
		}
		f.of = o
		return f.udp.Replace(o)
	case datagrams(f.config):
		return nil
	case protocol == config.HTTP && f.web != nil && before.config.Protocol == protocol:
		f.web.replace(g)
		return nil
	case protocol == config.StreamTCP && before.config.Protocol == protocol:
		o := g.sessionOptions(f.config)
		var err error
		if o.Group, err = g.group(f.config.Upstream, f.where); err != nil || sameOptions(f.of, o) {
			return err
		}
	case before.config.Protocol == protocol && g.plan.Config.Timeouts == g.before.plan.Config.Timeouts:
		return nil
	}
	handler, err := g.handlers(f)
	if err != nil {
		return err
	}
	for _, number := range f.more {
		if err := g.steering.Succeed(number, handler); err != nil {
			return err
		}
	}
	return g.steering.Succeed(f.number, handler)
}

// sameOptions reports that two options of sessions say the same, of the same upstream.
func sameOptions(a, b any) bool {
	groupOf := func(o any) (*upstream.Group, any) {
		switch o := o.(type) {
		case stream.TCPOptions:
			group := o.Group
			o.Group = nil
			return group, o
		case stream.UDPOptions:
			group := o.Group
			o.Group = nil
			return group, o
		}
		return nil, o
	}
	groupA, restA := groupOf(a)
	groupB, restB := groupOf(b)
	return groupA == groupB && reflect.DeepEqual(restA, restB)
}

// count finds out how many clients there are, and how many are of listeners that go.
func (a *App) count(r *reform) {
	going := make(map[int]bool)
	for _, f := range r.removed {
		going[f.number] = true
	}
	records := make([]conn.Record, conn.ListMost)
	for _, roster := range a.Rosters() {
		for from, more := uint32(0), true; more; {
			n, next, err := roster.List(context.Background(), from, records, 0)
			for _, record := range records[:n] {
				if record.Listener >= 0 {
					r.change.Connections++
					if going[record.Listener] {
						r.change.Touched++
					}
				}
			}
			from, more = next, err == nil && next != 0
		}
	}
}
