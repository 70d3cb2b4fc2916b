package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/myriad-server/myriad/internal/crowd"
	"github.com/myriad-server/myriad/internal/sys"
)

// The active connections, by where the server keeps them.
const (
	groupControl = "few"    // on the other server, beside the baseline
	groupFirst   = "first"  // made before the server was filled
	groupSpread  = "spread" // made while it was filled, evenly: they are in all of its tables
	groupLast    = "last"   // made after it was filled
)

const (
	settleWithin = 90 * time.Second
	drainWithin  = 20 * time.Second
	// beyond is how many connections more than asked for the server may hold: active ones, and those that ask for
	// the status.
	beyond = 1000
)

// experiment is one run.
type experiment struct {
	options    options
	dir        string
	report     *report
	full, few  *server
	tables     []*crowd.Table // the connections of full
	groups     map[string]*crowd.Table
	fewIdle    *crowd.Table
	net        [2]byte // second and third byte of the source addresses
	sources    int
	limitSlots int
}

func (e *experiment) perform(ctx context.Context) error {
	servers, own, err := divide()
	if err != nil {
		return err
	}
	e.report.Machine = describe(append(servers, own...))
	e.report.Processors = fmt.Sprintf("servers on %v, client on %v", servers, own)
	if e.full, err = start(ctx, "full", e.options.binary, e.dir, e.options.Connections+beyond, servers); err != nil {
		return err
	}
	if e.few, err = start(ctx, "few", e.options.binary, e.dir, e.options.Connections+beyond, servers); err != nil {
		return err
	}
	if err := bind(own); err != nil {
		return err
	}
	for _, phase := range []func(context.Context) error{
		e.prepare, e.before, e.fill, e.prove, e.beside, e.upgrade, e.again, e.leave,
	} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return nil
}

// source is an address of the loopback network that no run of the last minute has used: the kernel remembers the
// ports of connections that were closed.
func (e *experiment) source() netip.Addr {
	i := e.sources
	e.sources++
	return netip.AddrFrom4([4]byte{127, e.net[0], e.net[1] + byte(i/250), byte(1 + i%250)})
}

func (e *experiment) open(s *server, slots int) (*crowd.Table, error) {
	request, a, err := s.example()
	if err != nil {
		return nil, err
	}
	return crowd.Open(s.address, e.source(), slots, request, a)
}

// prepare opens every table, and connects the baseline of both servers.
func (e *experiment) prepare(ctx context.Context) error {
	e.net = [2]byte{byte(1 + rand.N(250)), byte(rand.N(250))}
	st, err := e.full.status(ctx)
	if err != nil {
		return err
	}
	e.report.Server = st
	soft, _, err := sys.Limit(sys.LimitDescriptors)
	if err != nil {
		return err
	}
	e.limitSlots = int(min(soft, crowd.SlotsMost))
	for left := e.options.Connections; left > 0; left -= e.limitSlots {
		t, err := e.open(e.full, min(left, e.limitSlots))
		if err != nil {
			return err
		}
		e.tables = append(e.tables, t)
	}
	e.groups = map[string]*crowd.Table{}
	for _, name := range []string{groupControl, groupFirst, groupSpread, groupLast} {
		s := e.full
		if name == groupControl {
			s = e.few
		}
		if e.groups[name], err = e.open(s, e.options.Active); err != nil {
			return err
		}
	}
	if e.fewIdle, err = e.open(e.few, e.options.Baseline); err != nil {
		return err
	}
	if err := e.connect(ctx, e.fewIdle, 0, e.options.Baseline); err != nil {
		return err
	}
	if err := e.connect(ctx, e.groups[groupControl], 0, e.options.Active); err != nil {
		return err
	}
	if err := e.connectRange(ctx, 0, e.options.Baseline); err != nil {
		return err
	}
	return e.connect(ctx, e.groups[groupFirst], 0, e.options.Active)
}

// connect makes connections of a table, each with a request that is answered. None may fail.
func (e *experiment) connect(ctx context.Context, t *crowd.Table, from, to int) error {
	well, err := t.Each(ctx, from, to, crowd.Socket, crowd.Receive)
	if err == nil && well != to-from {
		err = fmt.Errorf("%d of %d", well, to-from)
	}
	if err != nil {
		return fmt.Errorf("connecting: %w\n%s", err, e.full.lines())
	}
	return nil
}

// connectRange is connect for connections of full, numbered through all tables.
func (e *experiment) connectRange(ctx context.Context, from, to int) error {
	for from < to {
		i := from / e.limitSlots
		base := i * e.limitSlots
		end := min(to, base+e.tables[i].Slots())
		if err := e.connect(ctx, e.tables[i], from-base, end-base); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// before compares the two servers while both hold few connections: what differs then is noise.
func (e *experiment) before(ctx context.Context) error {
	progress("measuring %d active connections beside %d idle ones", e.options.Active, e.options.Baseline)
	m, err := e.full.look()
	if err != nil {
		return err
	}
	e.report.Few = m
	e.report.Before, err = e.compare(ctx, groupControl, groupFirst)
	return err
}

// compare measures groups in turn, in an order that is reversed every second round.
func (e *experiment) compare(ctx context.Context, names ...string) (map[string][]sample, error) {
	samples := map[string][]sample{}
	for _, name := range names { // wakes whatever has slept
		if _, err := e.measure(ctx, name, e.options.Length/10); err != nil {
			return nil, err
		}
	}
	for round := range e.options.Rounds {
		for i := range names {
			if round%2 == 1 {
				i = len(names) - 1 - i
			}
			s, err := e.measure(ctx, names[i], e.options.Length)
			if err != nil {
				return nil, err
			}
			samples[names[i]] = append(samples[names[i]], s)
		}
	}
	return samples, nil
}

func (e *experiment) measure(ctx context.Context, name string, length time.Duration) (sample, error) {
	s, other := e.full, e.few
	if name == groupControl {
		s, other = other, s
	}
	before, err := sys.ProcessTime(other.pid())
	if err != nil {
		return sample{}, err
	}
	m, err := measure(ctx, e.groups[name], s.pid(), length)
	if err != nil {
		return m, fmt.Errorf("measuring the %s group: %w", name, err)
	}
	after, err := sys.ProcessTime(other.pid())
	m.Idle = float64(after-before) / 1e6 / m.Length.Seconds()
	return m, err
}

// fill connects all the others, and the spread group among them.
func (e *experiment) fill(ctx context.Context) error {
	before, err := examine()
	if err != nil {
		return err
	}
	usage, err := e.usage()
	if err != nil {
		return err
	}
	began, said := time.Now(), time.Now()
	done := e.options.Baseline
	for k := range e.options.Active {
		to := e.options.Baseline + (e.options.Connections-e.options.Baseline)*(k+1)/e.options.Active
		if err := e.connectRange(ctx, done, to); err != nil {
			return err
		}
		if err := e.connect(ctx, e.groups[groupSpread], k, k+1); err != nil {
			return err
		}
		done = to
		if time.Since(said) > 2*time.Second {
			said = time.Now()
			m, err := e.full.look()
			if err != nil {
				return err
			}
			progress("%d connections, %.0f a second; the server has %s", done,
				float64(done-e.options.Baseline)/time.Since(began).Seconds(), size(m.Resident))
		}
	}
	e.report.FillTime = time.Since(began)
	e.report.FillRate = float64(e.options.Connections-e.options.Baseline) / e.report.FillTime.Seconds()
	used, err := e.usage()
	if err != nil {
		return err
	}
	for i := range used {
		e.report.FillCost[i] = float64(used[i]-usage[i]) / 1e3 / float64(e.options.Connections-e.options.Baseline)
	}
	if err := e.connect(ctx, e.groups[groupLast], 0, e.options.Active); err != nil {
		return err
	}
	after, err := examine()
	e.report.Filled = after
	e.report.KernelPair = (before.Free - after.Free) / int64(e.options.Connections-e.options.Baseline)
	return err
}

// usage is the processor time of the server and of this program so far, and how long each waited for a processor.
func (e *experiment) usage() (used [4]time.Duration, err error) {
	for i, pid := range []int{e.full.pid(), os.Getpid()} {
		if used[i], err = sys.ProcessTime(pid); err != nil {
			return used, err
		}
		used[i+2] = waited(pid)
	}
	return used, nil
}

// held is how many connections full has to hold now: the status counts the one that asks, too.
func (e *experiment) held() int { return e.options.Connections + 3*e.options.Active + 1 }

// census is how many connections there are, counted in three places.
type census struct {
	Expected int   `json:"expected"`
	Server   int   `json:"kernel_server_end"`
	Client   int   `json:"kernel_client_end"`
	Own      int64 `json:"server_status"`
}

func (c census) right() bool {
	return c.Server == c.Expected && c.Client == c.Expected && int(c.Own) == c.Expected
}

// count counts the connections of full.
func (e *experiment) count(ctx context.Context) (c census, err error) {
	st, err := e.full.status(ctx)
	if err != nil {
		return c, err
	}
	c.Expected, c.Own = e.held(), st.Connections.Open
	if c.Server, err = sys.Established(e.full.address.Port(), 0); err != nil {
		return c, err
	}
	c.Client, err = sys.Established(0, e.full.address.Port())
	return c, err
}

// prove counts the connections after the fill.
func (e *experiment) prove(ctx context.Context) (err error) {
	if e.report.Held, err = e.count(ctx); err != nil {
		return err
	}
	progress("held: %d at the server's end, %d at the client's, %d by the server's own account",
		e.report.Held.Server, e.report.Held.Client, e.report.Held.Own)
	if e.report.Full, err = e.full.look(); err != nil {
		return err
	}
	e.report.Open, e.report.Limit, err = e.full.descriptors()
	return err
}

// beside measures the active connections beside all others.
func (e *experiment) beside(ctx context.Context) (err error) {
	progress("measuring %d active connections beside %d idle ones", e.options.Active, e.options.Connections)
	e.report.Beside, err = e.compare(ctx, groupControl, groupSpread, groupLast, groupFirst)
	return err
}

// upgrade has the full server go on in a new process, with all connections.
func (e *experiment) upgrade(ctx context.Context) (err error) {
	if !e.options.Upgrade {
		return nil
	}
	progress("going on in a new process")
	if e.report.Upgrade, err = e.full.upgrade(ctx); err == nil {
		m := e.report.Upgrade
		progress("moved %d connections in %.1f s", m.Moved, m.Took.Seconds())
	}
	return err
}

// again asks every connection once more.
func (e *experiment) again(ctx context.Context) error {
	progress("asking every connection once more")
	began := time.Now()
	all := append([]*crowd.Table{e.groups[groupFirst], e.groups[groupSpread], e.groups[groupLast]}, e.tables...)
	for _, t := range all {
		well, err := t.Each(ctx, 0, t.Slots(), crowd.Send, crowd.Receive)
		e.report.Asked += t.Slots()
		e.report.Answered += well
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			e.report.Losses = append(e.report.Losses, err.Error())
		}
	}
	e.report.AskTime = time.Since(began)
	var err error
	if e.report.Again, err = e.count(ctx); err != nil {
		return err
	}
	if _, err := e.full.look(); err != nil {
		return err
	}
	e.report.Peak = e.full.peak
	e.report.Own = ownMemory()
	progress("%d of %d answered", e.report.Answered, e.report.Asked)
	return nil
}

// leave closes the connections table by table, each when the server has closed its ends of the one before, so that
// the kernel never has to keep many half-closed ones.
func (e *experiment) leave(ctx context.Context) error {
	progress("closing")
	began := time.Now()
	left := e.held()
	all := append([]*crowd.Table{e.groups[groupFirst], e.groups[groupSpread], e.groups[groupLast]}, e.tables...)
	for _, t := range all {
		if _, err := t.Each(ctx, 0, t.Slots(), crowd.Finish, crowd.Finish); err != nil && ctx.Err() != nil {
			return err
		}
		left -= t.Slots()
		if err := e.drained(ctx, left); err != nil {
			return err
		}
	}
	for _, t := range []*crowd.Table{e.fewIdle, e.groups[groupControl]} {
		if _, err := t.Each(ctx, 0, t.Slots(), crowd.Finish, crowd.Finish); err != nil {
			return err
		}
	}
	var stopped error
	for _, s := range []*server{e.full, e.few} {
		if err := s.stop(); err != nil {
			stopped = errors.Join(stopped, fmt.Errorf("the %s server: %w\n%s", s.name, err, s.lines()))
		}
	}
	e.report.LeaveTime = time.Since(began)
	e.report.Stopped = "exit code 0"
	if stopped != nil {
		e.report.Stopped = stopped.Error()
	}
	return nil
}

// drained waits until the server has no more than so many connections open.
func (e *experiment) drained(ctx context.Context, most int) error {
	deadline := time.Now().Add(drainWithin)
	for {
		st, err := e.full.status(ctx)
		if err != nil {
			return err
		}
		if int(st.Connections.Open) <= most {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server still has %d connections open, %d were expected", st.Connections.Open, most)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// end takes down whatever is left, also after a failure, and waits for the machine.
func (e *experiment) end(ctx context.Context) {
	for _, s := range []*server{e.full, e.few} {
		if s != nil {
			s.kill()
		}
	}
	for _, t := range e.tables {
		t.Close()
	}
	for _, t := range e.groups {
		t.Close()
	}
	if e.fewIdle != nil {
		e.fewIdle.Close()
	}
	// Also after an interruption: what this program leaves behind slows down whatever runs next.
	after, err := settled(context.WithoutCancel(ctx), e.report.Begin, settleWithin)
	e.report.After = after
	if err != nil {
		e.report.Settled = err.Error()
		progress("%v", err)
	}
}
