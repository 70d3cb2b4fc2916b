package proxy_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/upstream"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/proxy"
	"github.com/myriad-server/myriad/web/webtest"
)

// noted keeps the records of tunnels.
type noted []proxy.TunnelRecord

func (n *noted) LogTunnel(r *proxy.TunnelRecord) { *n = append(*n, *r) }

// arrive has a parcel come to the rig, as its client.
func (r *rig) arrive(p *conn.Parcel) error {
	r.t.Helper()
	c, err := webtest.Arrive(r.handler, p, r.dialer)
	r.client = c
	r.turn()
	return err
}

// leased is how many connections the group counts as used.
func (r *rig) leased() (n int) {
	for _, e := range r.group.Snapshot().Endpoints {
		n += e.Leased
	}
	return n
}

// TestTunnelsDepart has tunnels go on in another process, in every state that they can be in.
func TestTunnelsDepart(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(r *rig)
		after  func(r *rig)
		cause  string
	}{
		{"silent", func(*rig) {}, func(r *rig) { r.client.End() }, "client ended"},
		{
			"with bytes behind it", func(r *rig) { r.send("ping"); r.answer("pong"); r.sent(); r.asked(0) },
			func(r *rig) { r.upstream(0).End() }, "upstream ended",
		},
		{
			"the client has ended", func(r *rig) { r.client.End() },
			func(r *rig) { r.answer("late"); r.sent(); r.upstream(0).End() }, "client ended",
		},
		{
			"the upstream has ended", func(r *rig) { r.upstream(0).End() },
			func(r *rig) { r.send("late"); r.asked(0); r.client.End() }, "upstream ended",
		},
		{
			"the silence goes on", func(r *rig) { r.advance(40 * time.Second) },
			func(r *rig) { r.advance(40 * time.Second) }, "idle", // the handshake is noticed up to 15 s late,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log, logThere noted
			var counters proxy.TunnelCounters
			option := func(log *noted) option {
				return with(func(o *proxy.Options) {
					o.Tunnels, o.Timeouts.Tunnel, o.Counters = log, time.Minute, &counters
				})
			}
			here, there := tunnelled(t, oneEndpoint, option(&log)), newRig(t, plain, oneEndpoint, option(&logThere))
			test.before(here)
			p := here.client.Depart()
			if p == nil {
				t.Fatal("it did not leave")
			}
			counts := counters.Counts()
			if counts[0] != 1 || counts[slices.Index(proxy.TunnelCauses[:], "moved")] != 1 {
				t.Errorf("behind it %v", counts)
			}
			if len(log) != 0 || here.leased() != 0 {
				t.Errorf("behind it the log is told %v, and %d are in use", log, here.leased())
			}
			if err := there.arrive(p); err != nil {
				t.Fatal(err)
			}
			if there.leased() != 1 || there.client.State() != conn.Open {
				t.Fatalf("%d connections in use there, and the client's is %v", there.leased(), there.client.State())
			}
			test.after(there)
			there.turn()
			if there.client.State() != conn.Closed {
				there.upstream(0).End()
				there.client.End()
				there.turn()
			}
			if len(logThere) != 1 || logThere[0].Cause != test.cause || there.leased() != 0 {
				t.Errorf("the log there is told %+v, and %d are in use", logThere, there.leased())
			}
		})
	}
}

// TestTunnelPassesOn has bytes pass a tunnel that has arrived, both ways.
func TestTunnelPassesOn(t *testing.T) {
	here, there := tunnelled(t, oneEndpoint), newRig(t, plain, oneEndpoint)
	if err := there.arrive(here.client.Depart()); err != nil {
		t.Fatal(err)
	}
	there.send("ping")
	there.answer("pong")
	if asked, got := there.asked(0), there.sent(); asked != "ping" || got != "pong" {
		t.Errorf("%q and %q came through", asked, got)
	}
	again := newRig(t, plain, oneEndpoint)
	if err := again.arrive(there.client.Depart()); err != nil {
		t.Fatal(err)
	}
	again.send("once more")
	if asked := again.asked(0); asked != "once more" {
		t.Errorf("%q came through", asked)
	}
}

// TestExchangesStay has connections of clients leave that have an exchange, and connections to upstreams.
func TestExchangesStay(t *testing.T) {
	r := newRig(t, plain, oneEndpoint)
	r.send(get)
	if r.client.Depart() != nil {
		t.Error("it left within an exchange")
	}
	r.answer(hello)
	if r.upstream(0).Depart() != nil {
		t.Error("an idle connection to an upstream left")
	}
	if r.client.Depart() == nil {
		t.Error("it stayed behind its exchange")
	}
	stuck := tunnelled(t, oneEndpoint)
	stuck.upstream(0).Stuck = true
	stuck.send("ping")
	if stuck.client.Depart() != nil {
		t.Error("a tunnel left with bytes that are stuck")
	}
}

// TestTunnelsRefused has tunnels arrive where they cannot go on, and then where they came from.
func TestTunnelsRefused(t *testing.T) {
	here := tunnelled(t, oneEndpoint)
	p := here.client.Depart()
	alone, elsewhere := *p, func(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
		u.Endpoints = []upstream.EndpointOptions{{Address: "127.0.0.1:9009"}}
	}
	alone.Mate = nil
	for _, test := range []struct {
		name string
		rig  *rig
		p    *conn.Parcel
		want error
	}{
		{"another endpoint", newRig(t, elsewhere), p, upstream.ErrNoEndpoint},
		{"another group", newRig(t, oneEndpoint, func(_ *proxy.Options, u *upstream.Options, _ *web.Server) {
			u.Name = "other"
		}), p, web.ErrUpgrade},
		{"no connection to it", newRig(t, oneEndpoint), &alone, conn.ErrState},
	} {
		if err := test.rig.arrive(test.p); !errors.Is(err, test.want) || test.rig.client.Attached() != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if n := test.rig.leased(); n != 0 {
			t.Errorf("%s: %d connections are counted", test.name, n)
		}
	}
	if err := here.arrive(p); err != nil {
		t.Fatal(err)
	}
	here.send("ping")
	if asked := here.asked(-1); asked != "ping" {
		t.Errorf("back where it was %q came through", asked)
	}
}

// FuzzUnpackTunnel has any state of a tunnel arrive.
func FuzzUnpackTunnel(f *testing.F) {
	here := newRig(f, plain, oneEndpoint)
	here.send(asksUpgrade)
	here.answer(upgraded)
	f.Add(here.client.Depart().State)
	f.Add([]byte("\x01\x02\x07tunnel:\x01\x00"))
	f.Fuzz(func(t *testing.T, state []byte) {
		there := newRig(t, plain, oneEndpoint, with(func(o *proxy.Options) { o.Tunnels = new(noted) }))
		if err := there.arrive(&conn.Parcel{State: state, Mate: &conn.Parcel{}}); err != nil {
			if n := there.leased(); n != 0 || there.client.Attached() != nil {
				t.Errorf("behind an error %d are in use", n)
			}
			return
		}
		if len(there.dialer.Conns) == 0 {
			return // it is not a tunnel
		}
		there.send("ping")
		there.answer("pong")
		for range 100 {
			there.advance(time.Hour)
		}
		if n := there.leased(); n != 0 || there.client.State() != conn.Closed {
			t.Errorf("%d are in use, and the client's connection is %v", n, there.client.State())
		}
	})
}
