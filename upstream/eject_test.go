package upstream

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/balance"
)

// fails reports failures of an endpoint in a row.
func fails(a *Agent, e *Endpoint, n int) {
	for range n {
		a.Report(e, Failure)
	}
}

func TestOutlierIsEjected(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 4, Options{Eject: &EjectOptions{Failures: 3, Base: time.Second, Max: 10 * time.Second}})
	a := g.Agent(m.threads[0])
	e := g.set.Load().endpoints[2]
	fails(a, e, 2)
	a.Report(e, Success)
	fails(a, e, 2)
	if state, _ := e.state(); state != "up" {
		t.Fatalf("failures that are not in a row made it %s", state)
	}
	fails(a, e, 1)
	if state, why := e.state(); state != "ejected" || why == "" {
		t.Fatalf("it is %s: %s", state, why)
	}
	for range 12 {
		if u := granted(t, a); u.link.Endpoint == e {
			t.Fatal("it was chosen")
		}
	}
	// The time out doubles each time a trial fails, up to Max.
	for _, out := range []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second,
		10 * time.Second,
	} {
		fails(a, e, 5) // of uses that began before; they do not count
		m.pass(out - 50*time.Millisecond)
		if e.available(m.now) {
			t.Fatalf("it is back before %v", out)
		}
		m.pass(100 * time.Millisecond)
		if u := wantAs(a, Want{Prefer: e}); len(m.conns) == 0 || u.err != nil {
			t.Fatalf("there is no trial after %v: %v", out, u.err)
		}
		if e.available(m.now) {
			t.Fatal("there are two trials at once")
		}
		m.openAll()
		fails(a, e, 1)
	}
	m.pass(11 * time.Second)
	u := wantAs(a, Want{Prefer: e})
	m.openAll()
	if state, _ := e.state(); state != "ejected" {
		t.Errorf("a connection alone made it %s", state)
	}
	a.Report(u.link.Endpoint, Success)
	if state, _ := e.state(); state != "up" || !e.available(m.now) {
		t.Errorf("a trial that went well made it %s", state)
	}
}

func TestNotAllAreEjectedForTheirAnswers(t *testing.T) {
	for _, c := range []struct{ endpoints, share, out int }{{1, 100, 1}, {1, 50, 0}, {2, 10, 1}, {4, 50, 2}, {10, 25, 2}} {
		m := newMachine(1)
		g := groupOf(t, c.endpoints, Options{Eject: &EjectOptions{Failures: 1, Share: c.share}})
		a := g.Agent(m.threads[0])
		out := 0
		for _, e := range g.set.Load().endpoints {
			fails(a, e, 3)
			if e.status.Load() != 0 {
				out++
			}
		}
		if out != c.out {
			t.Errorf("%d of %d were ejected with a share of %d %%, want %d", out, c.endpoints, c.share, c.out)
		}
	}
}

func TestAllThatAcceptNothingAreEjected(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 2, Options{Attempts: 1, Eject: &EjectOptions{Failures: 2, Base: time.Second}})
	a := g.Agent(m.threads[0])
	var denied *DialError
	for range 4 {
		u := want(a)
		m.conns[0].fail(syscall.ECONNREFUSED)
		if !errors.As(u.err, &denied) {
			t.Fatalf("denied with %v", u.err)
		}
	}
	if u := want(a); u.err != ErrNoEndpoint || len(m.conns) != 0 {
		t.Errorf("with all out a want got %v, and %d connections", u.err, len(m.conns))
	}
	m.pass(1100 * time.Millisecond)
	u, v, w := want(a), want(a), want(a) // a trial each
	if u.err != nil || v.err != nil || w.err != ErrNoEndpoint {
		t.Errorf("three wants got %v, %v, %v", u.err, v.err, w.err)
	}
	m.openAll()
	if u.link == nil || v.link == nil {
		t.Fatal("no trial went well")
	}
	granted(t, a)
	for _, e := range g.Snapshot().Endpoints {
		if e.State != "up" {
			t.Errorf("%s is %s: %s", e.Address, e.State, e.Why)
		}
	}
}

func TestWhatIsOursIsNoFailure(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 2, Options{Eject: &EjectOptions{Failures: 1}})
	a := g.Agent(m.threads[0])
	u := want(a)
	m.conns[0].fail(syscall.EMFILE)
	if !errors.Is(u.err, syscall.EMFILE) || len(m.conns) != 0 {
		t.Errorf("denied with %v", u.err)
	}
	if s := g.Snapshot().Endpoints; s[0].State != "up" || s[1].State != "up" {
		t.Errorf("the endpoints are %s and %s", s[0].State, s[1].State)
	}
}

func TestSlowStart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m := newMachine(1)
	g := groupOf(t, 2, Options{
		Policy: balance.RoundRobin{}, SlowStart: 10 * time.Second, Pool: PoolOptions{Max: 100_000}, random: random.Int64N,
	})
	a := g.Agent(m.threads[0])
	share := func() (of [2]int) {
		for range 1000 {
			u := granted(t, a)
			for i, e := range g.set.Load().endpoints {
				if e == u.link.Endpoint {
					of[i]++
				}
			}
			u.release(a)
		}
		return of
	}
	if of := share(); of[0] != 500 {
		t.Errorf("the first endpoints of a group are slow: %v", of)
	}
	// One goes and comes back.
	list := []EndpointOptions{{Address: address(1)}, {Address: address(2)}}
	if err := errors.Join(g.SetEndpoints(list[:1]), g.SetEndpoints(list)); err != nil {
		t.Fatal(err)
	}
	for range 100 { // those who are at home there go there all the same
		u := wantAs(a, Want{Prefer: g.set.Load().endpoints[1]})
		m.openAll()
		if u.link.Endpoint != g.set.Load().endpoints[1] {
			t.Fatal("one who prefers an endpoint that is slow got another")
		}
		u.release(a)
	}
	for _, c := range []struct{ from, to int }{{10, 100}, {200, 400}, {440, 500}, {500, 500}} {
		if of := share(); of[1] < c.from || of[1] > c.to {
			t.Errorf("%d of 1000, want %d to %d", of[1], c.from, c.to)
		}
		m.pass(5 * time.Second)
	}
}

// TestLastResort has an endpoint that has been out for long come back: a service that has no other does not wait for
// the end of a wait that has doubled many times, nor for the first.
func TestLastResort(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{Eject: &EjectOptions{Failures: 1, Base: time.Second, Max: time.Hour}})
	a := g.Agent(m.threads[0])
	want(a)
	m.conns[0].fail(syscall.ECONNREFUSED)
	m.pass(time.Duration(resortSpace))
	for range 1000 { // the last of these waits alone would be an hour
		u := want(a)
		if len(m.conns) != 1 {
			t.Fatalf("the endpoint is not tried: %v", u.err)
		}
		if other := want(a); !errors.Is(other.err, ErrNoEndpoint) || len(m.conns) != 1 {
			t.Fatalf("while one tries it: %v, and %d connections", other.err, len(m.conns))
		}
		m.conns[0].fail(syscall.ECONNREFUSED)
		m.turn()
		if again := want(a); !errors.Is(again.err, ErrNoEndpoint) {
			t.Fatalf("right after a refusal: %v", again.err)
		}
		m.pass(time.Duration(resortSpace))
	}
	granted(t, a)
	granted(t, a) // it is back for everybody
}

// TestLastResortWithoutWord has the only endpoint fall silent: those who try it wait for it, and are few.
func TestLastResortWithoutWord(t *testing.T) {
	m := newMachine(1)
	g := groupOf(t, 1, Options{
		ConnectTimeout: 5 * time.Second, Eject: &EjectOptions{Failures: 1, Base: time.Second, Max: time.Hour},
	})
	a := g.Agent(m.threads[0])
	want(a)
	m.conns[0].fail(syscall.ETIMEDOUT)
	m.turn()
	tried := 0
	for range 400 { // 4 s
		m.pass(10 * time.Millisecond)
		if want(a).err == nil {
			tried++
		}
	}
	if tried < 4 || tried > 5 {
		t.Errorf("%d requests in 4 s have tried an endpoint that does not answer, want one in each", tried)
	}
}

// TestAllComeBackWithTheFirst lets endpoints be out for long: when the first is back, the others are tried at once, and
// those that are not back yet are out for as long as if it were the first time.
func TestAllComeBackWithTheFirst(t *testing.T) {
	t.Run("before its time", func(t *testing.T) { allComeBack(t, int64(time.Hour)) })
	t.Run("in time", func(t *testing.T) { allComeBack(t, 0) })
}

// allComeBack has the first trial be due in so many nanoseconds.
func allComeBack(t *testing.T, due int64) {
	m := newMachine(1)
	g := groupOf(t, 3, Options{Attempts: 1, Eject: &EjectOptions{Failures: 1, Base: time.Second, Max: time.Hour}})
	a := g.Agent(m.threads[0])
	for range 40 {
		want(a)
		for _, c := range slices.Clone(m.conns) {
			c.fail(syscall.ECONNREFUSED)
		}
		m.pass(time.Minute)
	}
	for i, e := range g.set.Load().endpoints { // as if a trial of the others had just been made
		e.outlier.retryAt.Store(m.now + int64(time.Hour))
		if i == 0 {
			e.outlier.retryAt.Store(m.now + due)
		}
	}
	granted(t, a)
	u, v := want(a), want(a)
	if u.err != nil || v.err != nil || len(m.conns) != 3 || m.conns[1].target == m.conns[2].target {
		t.Fatalf("two wants got %v and %v, and %d connections", u.err, v.err, len(m.conns)-1)
	}
	m.conns[1].fail(syscall.ECONNREFUSED)
	m.openAll()
	var states []string
	for _, e := range g.Snapshot().Endpoints {
		states = append(states, e.State)
		if e.State == "ejected" && !strings.Contains(e.Why, "out for 1s") {
			t.Errorf("%s is ejected: %s", e.Address, e.Why)
		}
	}
	if slices.Sort(states); !slices.Equal(states, []string{"ejected", "up", "up"}) {
		t.Errorf("the endpoints are %v", states)
	}
}

// TestFaultIsTold wants the state of an endpoint that is out to say what the last use went wrong by.
func TestFaultIsTold(t *testing.T) {
	for _, c := range []struct {
		how  Fault
		want string
	}{
		{Fault{Status: 503}, "2 uses in a row failed, the last: status 503; out for 1s"},
		{Fault{Cause: "reset"}, "2 uses in a row failed, the last: reset; out for 1s"},
		{Fault{Cause: "reset", Reason: "odd"}, "2 uses in a row failed, the last: reset (odd); out for 1s"},
		{Fault{}, "2 uses in a row failed; out for 1s"},
	} {
		m := newMachine(1)
		var log strings.Builder
		g := groupOf(t, 2, Options{
			Log:   slog.New(slog.NewTextHandler(&log, nil)),
			Eject: &EjectOptions{Failures: 2, Base: time.Second},
		})
		a := g.Agent(m.threads[0])
		e := granted(t, a).link.Endpoint
		a.Report(e, Failure)
		a.Blame(e, c.how)
		if state, why := e.state(); state != "ejected" || why != c.want {
			t.Errorf("it is %s: %q, want %q", state, why, c.want)
		}
		if !strings.Contains(log.String(), c.want) || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("the log says %q", log.String())
		}
		if n := testing.AllocsPerRun(100, func() { a.Blame(e, c.how) }); n != 0 {
			t.Errorf("a failure allocates %v times", n)
		}
	}
}
