package servetest

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/serve"
)

// portable is a script whose connections may leave.
type portable struct {
	*watched
	leaves func(c conn.Conn) (conn.Conn, bool)
	pack   func(c conn.Conn) string
	unpack func(c conn.Conn, state string, mate func(h conn.Handler, v any) conn.Conn) error
}

// begin has a connection known that is not told Opened.
func (w *watched) begin(c conn.Conn) {
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	if w.record.lives[c.ID()] != nil {
		w.record.t.Errorf("the ID %x is used twice", c.ID())
	}
	w.record.lives[c.ID()] = &life{}
}

// Leaves implements conn.Portable.
func (p *portable) Leaves(c conn.Conn) (conn.Conn, bool) {
	p.enter(c, "Leaves")
	defer p.leave()
	return p.leaves(c)
}

// Pack implements conn.Portable.
func (p *portable) Pack(c conn.Conn, state []byte) ([]byte, bool) {
	p.enter(c, "Pack")
	defer p.leave()
	if c.Queued() > 0 || c.State() != conn.Open {
		p.record.t.Errorf("Pack with %d bytes queued, in the state %s", c.Queued(), c.State())
	}
	return append(state, p.pack(c)...), true
}

// Unpack implements conn.Portable.
func (p *portable) Unpack(c conn.Conn, state []byte, mate func(h conn.Handler, v any) conn.Conn) error {
	p.begin(c)
	p.enter(c, "Unpack")
	defer p.leave()
	if c.State() != conn.Open || c.Attached() != nil {
		p.record.t.Errorf("Unpack in the state %s, with %v attached", c.State(), c.Attached())
	}
	return p.unpack(c, string(state), mate)
}

// counting answers each line with its number on the connection. It leaves between two of them. What has begun with
// "hold" is answered when the next "go" comes, and the connection stays until then.
func counting(v *server, closed chan<- error) conn.Handler {
	type tally struct {
		lines int
		held  bool
	}
	of := func(c conn.Conn) *tally { return c.Attached().(*tally) }
	p := &portable{watched: &watched{record: v.record}}
	p.opened = func(c conn.Conn) { c.Attach(&tally{}); c.SetIdle(true) }
	p.received = func(c conn.Conn, in []byte) (used int) {
		for i, b := range in {
			if b != '\n' {
				continue
			}
			line := string(in[used:i])
			used = i + 1
			if of(c).held = line == "hold"; of(c).held {
				c.SetIdle(false)
				continue
			}
			of(c).lines++
			c.Write([]byte(strconv.Itoa(of(c).lines) + " " + line + "\n"))
			c.SetIdle(true)
		}
		return used
	}
	p.closed = func(_ conn.Conn, why error) {
		if closed != nil {
			closed <- why
		}
	}
	p.leaves = func(c conn.Conn) (conn.Conn, bool) { return nil, !of(c).held }
	p.pack = func(c conn.Conn) string { return "1 " + strconv.Itoa(of(c).lines) }
	p.unpack = func(c conn.Conn, state string, _ func(conn.Handler, any) conn.Conn) error {
		t := &tally{}
		c.Attach(t)
		if len(state) < 3 || state[:2] != "1 " {
			return errors.New("another version")
		}
		var err error
		t.lines, err = strconv.Atoi(state[2:])
		return err
	}
	return p
}

// sites are two that hand connections to each other.
type sites struct {
	t        *testing.T
	all      [2]*steered
	moved    chan *conn.Parcel // those that have arrived
	refused  chan error        // those that went back
	carriers sync.WaitGroup
}

// open serves two sites with the handlers that h makes. It is nil under a model that cannot.
func openSites(t *testing.T, s Suite, configure func(i int, site *serve.Site), h func(v *server) conn.Handler) *sites {
	t.Helper()
	two := &sites{t: t, moved: make(chan *conn.Parcel, 4096), refused: make(chan error, 4096)}
	for i := range two.all {
		v := &steered{suite: s, server: &server{t: t, record: &record{t: t, lives: map[uint64]*life{}}}}
		l, group := v.listener(s, "127.0.0.1:0")
		l.Handler = func() conn.Handler { return h(v.server) }
		v.serve(s, func(site *serve.Site) {
			site.Listeners = append(site.Listeners, l)
			site.Steer = func(s serve.Steering) { v.Steering = s }
			if configure != nil {
				configure(i, site)
			}
		})
		v.address = group.Spec()
		two.all[i] = v
	}
	two.all[1].before = footprint{1 << 20, 1 << 20} // what the first one began with is what must be left at the end
	if two.all[0].Driver() {
		return two
	}
	if _, err := two.all[0].Depart(serve.Departure{Room: func() int { return 1 }}); !errors.Is(err, serve.ErrNotPortable) {
		t.Errorf("Depart where it cannot be: %v", err)
	}
	two.stop()
	return nil
}

// Driver reports that the model has loops.
func (v *steered) Driver() bool { return v.suite.Model.Driver() == "" }

// depart has connections of one site go to the other, until what it returns is called.
func (two *sites) depart(from int) (stop func()) {
	two.t.Helper()
	parcels := make(chan *conn.Parcel, 4096)
	end, err := two.all[from].Depart(serve.Departure{
		Room: func() int { return cap(parcels) / 2 },
		Take: func(p *conn.Parcel) { parcels <- p },
		Only: func(listener int) bool { return listener == 0 },
	})
	if err != nil {
		two.t.Fatalf("Depart: %v", err)
	}
	two.carriers.Go(func() {
		for p := range parcels {
			if err := two.all[1-from].Arrive(p); err == nil {
				two.moved <- p
			} else {
				if back := two.all[from].Arrive(p); back != nil {
					two.t.Errorf("what was refused (%v) cannot go back: %v", err, back)
				}
				two.refused <- err
			}
		}
	})
	return sync.OnceFunc(func() {
		end()
		close(parcels)
		two.carriers.Wait()
	})
}

// stop ends both sites, the later one first.
func (two *sites) stop() {
	two.all[1].stop()
	two.all[0].stop()
}
