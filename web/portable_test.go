package web_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/webtest"
)

// TestDepartures has connections leave in every state that they can be in, and go on in another process.
func TestDepartures(t *testing.T) {
	root := site(t)
	post := request("POST /echo", "ab", "Content-Length: 3")
	large := web.HandlerFunc(func(x *web.Exchange) { x.Reply(make([]byte, 100_000)) })
	for _, test := range []struct {
		name   string
		root   web.Handler
		before []step
		leaves bool
		after  []step
		status string // of the answers there
		state  conn.State
	}{
		{"new", root, nil, true, []step{hello1}, "200", conn.Open},
		{"idle", root, []step{hello1}, true, []step{hello1, hello1}, "200 200", conn.Open},
		{"idle for ever", root, []step{hello1, 50 * time.Second}, true, []step{61 * time.Second}, "", conn.Closed},
		{"half a head", root, []step{hello1[:20]}, true, []step{hello1[20:]}, "200", conn.Open},
		{"half a second head", root, []step{hello1, hello1[:9]}, true, []step{hello1[9:]}, "200", conn.Open},
		{
			"the time of a head goes on", root,
			[]step{hello1, "GET", 6 * time.Second},
			true,
			[]step{5 * time.Second},
			"408", conn.Open,
		},
		{
			"but does not run faster", root,
			[]step{hello1, "GET", 6 * time.Second},
			true,
			[]step{3 * time.Second, " /hello HTTP/1.1\r\nHost: a\r\n\r\n"},
			"200", conn.Open,
		},
		{"the last request", root, []step{hello1, hello1}, true, []step{hello1, hello1}, "200 200c", conn.Closed},
		{"within content", root, []step{post}, false, nil, "", conn.Open},
		{"within an exchange", never, []step{hello1}, false, nil, "", conn.Open},
		{"within an answer", large, []step{stick, hello1}, false, nil, "", conn.Open},
		{"behind the last answer", root, []step{stick, request("GET /", "", "Connection: close")}, false, nil, "", conn.Open},
		{"ended", root, []step{stick, hello1, end}, false, nil, "", conn.Open},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := func() *web.Server {
				return &web.Server{
					Root: test.root, Limits: web.Limits{Requests: 4},
					Timeouts: web.Timeouts{Head: 10 * time.Second, Idle: 60 * time.Second},
				}
			}
			c := play(server(), test.before...)
			p := c.Depart()
			if (p != nil) != test.leaves {
				t.Fatalf("it left: %t", p != nil)
			}
			if p == nil {
				return
			}
			if len(p.State) > 64 || !errors.Is(c.Why, conn.ErrMoved) {
				t.Errorf("a state of %d bytes; closed because of %v", len(p.State), c.Why)
			}
			there, err := webtest.Arrive(server().Handler(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			playOn(there, test.after...)
			if got := statuses(there.Sent); got != test.status || there.State() != test.state {
				t.Errorf("answers %q, and then it is %v; want %q, %v", got, there.State(), test.status, test.state)
			}
		})
	}
}

// TestDepartureIsNoEnd has a connection leave of which nobody is to hear that it ended.
func TestDepartureIsNoEnd(t *testing.T) {
	var records int
	s := &web.Server{Root: site(t), Log: logFunc(func(*web.Record) { records++ })}
	c := play(s, hello1, "GET /")
	before := s.Counts()
	if c.Depart() == nil || records != 1 || s.Counts() != before {
		t.Errorf("%d records; %v counted, %v before", records, s.Counts(), before)
	}
}

type logFunc func(r *web.Record)

func (f logFunc) Log(r *web.Record) { f(r) }

// TestForeignStates has states arrive that cannot be read.
func TestForeignStates(t *testing.T) {
	for _, state := range []string{
		"", "\x00", "\x01", "\x02\x00\x00", "\x01\x00", "\x01\x00\x00\x00", "\x01\x01\x00", "\x01\x03\x00", "\x01\x02",
		"\x01\x02\x01x", "\x01\x02\x09x", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"\x01\x02" + strings.Repeat("\xff", 9) + "\x01", strings.Repeat("\xff", 100),
	} {
		s := &web.Server{Root: site(t)}
		c, err := webtest.Arrive(s.Handler(), &conn.Parcel{State: []byte(state)}, nil)
		if err == nil || c.State() != conn.Closed || c.Attached() != nil {
			t.Errorf("%q: %v; %v attached", state, err, c.Attached())
		}
	}
}

// FuzzUnpack has any state arrive, and then a request.
func FuzzUnpack(f *testing.F) {
	for _, steps := range [][]step{nil, {hello1}, {hello1, "GET / HT"}} {
		p := play(&web.Server{Root: site(f), Limits: web.Limits{Requests: 9}}, steps...).Depart()
		f.Add(p.State, p.Unread)
	}
	f.Add([]byte("\x01\x02\x04nameand more"), []byte("anything"))
	root := web.Resuming{Handler: site(f), By: []web.Resumer{echoes{}}}
	f.Fuzz(func(t *testing.T, state, unread []byte) {
		if len(unread) > webtest.BlockSize/2 {
			return
		}
		s := &web.Server{Root: root, Limits: web.Limits{Requests: 9}}
		c, err := webtest.Arrive(s.Handler(), &conn.Parcel{State: state, Unread: unread}, nil)
		if err != nil {
			return
		}
		c.Receive([]byte("\r\n\r\n" + hello1))
		c.Advance(time.Hour)
		c.Advance(time.Hour)
		if _, switched := c.Attached().(*echoed); c.State() != conn.Closed && !switched {
			t.Errorf("it is %v after two hours", c.State())
		}
	})
}

// echoes goes on with connections of one name, and echoed is such a connection: it echoes, behind what was its state.
type (
	echoes struct{}
	echoed struct {
		state string
		stays bool
	}
)

func (echoes) Resume(r *web.Resumption) (web.Upgraded, error) {
	switch string(r.Upgrade) {
	case "echo":
		return &echoed{state: string(r.State)}, nil
	case "broken":
		return nil, conn.ErrState
	}
	return nil, web.ErrUpgrade
}

func (e *echoed) Opened(conn.Conn)                          {}
func (e *echoed) Ended(c conn.Conn)                         { c.Drain() }
func (e *echoed) Flushed(conn.Conn)                         {}
func (e *echoed) Expired(conn.Conn)                         {}
func (e *echoed) Stopped(conn.Conn)                         {}
func (e *echoed) Closed(conn.Conn, error)                   {}
func (e *echoed) Upgrade() string                           { return "echo" }
func (e *echoed) Leaves(conn.Conn) (mate conn.Conn, _ bool) { return nil, true }

func (e *echoed) Received(c conn.Conn, in []byte) int {
	c.Write(append([]byte(e.state), in...))
	return len(in)
}

func (e *echoed) Pack(_ conn.Conn, state []byte) ([]byte, bool) {
	return append(state, "state "...), !e.stays
}

// TestUpgradesDepart has connections leave that speak another protocol.
func TestUpgradesDepart(t *testing.T) {
	own := &echoed{}
	switched := func(v conn.Handler) *webtest.Conn {
		var x *web.Exchange
		s := &web.Server{Root: web.HandlerFunc(func(y *web.Exchange) { x = y })}
		return play(s, hello1, func(c *webtest.Conn) { x.Switch(x.ReserveHead(100), 101, v); c.Turn() })
	}
	if p := switched(struct{ conn.Handler }{own}).Depart(); p != nil {
		t.Error("one left that cannot")
	}
	if p := switched(&echoed{stays: true}).Depart(); p != nil {
		t.Error("one left that would not")
	}
	p := switched(own).Depart()
	if p == nil {
		t.Fatal("one did not leave")
	}
	for _, test := range []struct {
		root web.Handler
		want error
	}{
		{web.Resuming{Handler: never, By: []web.Resumer{web.Resuming{}, echoes{}}}, nil},
		{web.Resuming{Handler: never}, web.ErrUpgrade},
		{never, web.ErrUpgrade},
	} {
		c, err := webtest.Arrive((&web.Server{Root: test.root}).Handler(), p, nil)
		if !errors.Is(err, test.want) {
			t.Errorf("%v, want %v", err, test.want)
		}
		if err == nil {
			if c.Receive([]byte("and more")); string(c.Sent) != "state and more" {
				t.Errorf("it says %q", c.Sent)
			}
		}
	}
	broken := &conn.Parcel{State: bytes.Replace(p.State, []byte("\x04echo"), []byte("\x06broken"), 1)}
	root := web.Resuming{Handler: never, By: []web.Resumer{echoes{}}}
	if c, err := webtest.Arrive((&web.Server{Root: root}).Handler(), broken, nil); !errors.Is(err, conn.ErrState) {
		t.Errorf("a broken state: %v, %v", c.State(), err)
	}
}
