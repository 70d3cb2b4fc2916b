package socket_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
	"github.com/myriad-server/myriad/web/webtest"
)

// packer is a recorder that packs what is attached to its connections, which is a string.
type packer struct {
	recorder
	stays bool
}

func (p *packer) Pack(c *socket.Conn, state []byte) ([]byte, bool) {
	p.events = append(p.events, "packed")
	if c.Attached() == "panic" {
		panic("no")
	}
	return append(state, c.Attached().(string)...), !p.stays
}

func (p *packer) Unpack(c *socket.Conn, state []byte) error {
	p.conn = c
	p.events = append(p.events, "unpacked "+string(state))
	switch string(state) {
	case "panic there":
		panic("no")
	case "close there":
		c.Close(ws.CodeTryLater, "")
	case "error there":
		return errors.New("no")
	}
	c.Attach(string(state))
	return nil
}

// moved is the rig's connection in another process, where r is its handler.
func (g *rig) moved(r socket.Handler, o socket.Options) error {
	g.t.Helper()
	p := g.Depart()
	if p == nil {
		g.t.Fatal("it did not leave")
	}
	s := &web.Server{Root: socket.New(r, o)}
	var err error
	g.Conn, err = webtest.Arrive(s.Handler(), p, nil)
	return err
}

// TestDepartures has connections leave in every state that they can be in.
func TestDepartures(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(g *rig)
		leaves bool
	}{
		{"silent", func(*rig) {}, true},
		{"behind a message", func(g *rig) { g.say(ws.Text, "a") }, true},
		{"with some of a header", func(g *rig) { g.Receive([]byte{0x81}) }, true},
		{"with some of a ping", func(g *rig) { g.Receive([]byte{0x89, 0x85, 0, 0, 0, 0, 'p'}) }, true},
		{"pinged", func(g *rig) { g.Advance(31 * time.Second) }, true},
		{"paused", func(g *rig) { g.conn.Pause() }, true},
		{"within a frame", func(g *rig) { g.Receive([]byte{0x81, 0x85, 0, 0, 0, 0, 'p'}) }, false},
		{
			"between two frames",
			func(g *rig) { g.Receive(g.encoder.AppendFrame(nil, ws.Header{Opcode: ws.Text}, nil)) }, false,
		},
		{"with something attached", func(g *rig) { g.conn.Attach(1) }, false},
		{"while it closes", func(g *rig) { g.conn.Close(ws.CodeNormal, "") }, false},
		{"with output", func(g *rig) { g.Stuck = true; _ = g.conn.Send(ws.Text, []byte("a")) }, false},
		{"with output from elsewhere", func(g *rig) { _ = g.conn.Ref().Send(ws.Text, []byte("a")) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := connect(t, new(recorder), socket.Options{}, "", nil)
			test.before(g)
			if p := g.Depart(); (p != nil) != test.leaves {
				t.Errorf("it left: %t", p != nil)
			}
		})
	}
}

// TestGoesOn has a connection go on in another process whose handler knows nothing of that.
func TestGoesOn(t *testing.T) {
	o := socket.Options{Protocols: []string{"one", "two"}}
	g := connect(t, new(recorder), o, "Sec-WebSocket-Protocol: two\r\n", nil)
	ref := g.conn.Ref()
	g.Receive([]byte{0x81}) // the rest of the header comes there
	there := new(recorder)
	here := g.recorder
	if err := g.moved(there, o); err != nil {
		t.Fatal(err)
	}
	if err := ref.Send(ws.Text, nil); !errors.Is(err, socket.ErrClosed) {
		t.Errorf("a message to where it was: %v", err)
	}
	if strings.Join(here.events, "|") != "opened|closed 1012" {
		t.Errorf("the handler was told %q", here.events)
	}
	g.recorder = there
	g.Receive([]byte{0x81, 0, 0, 0, 0, 'a'})
	_ = g.conn.Send(ws.Binary, []byte("b"))
	g.Turn()
	g.told("opened", "text a")
	g.hears("binary b")
	if g.conn.Protocol() != "two" {
		t.Errorf("the subprotocol is %q", g.conn.Protocol())
	}
}

// TestPacked has a connection go on with what the application knows of it.
func TestPacked(t *testing.T) {
	for _, test := range []struct {
		with, here, there string
		leaves, arrives   bool
	}{
		{"a name", "packed|closed 1012", "unpacked a name", true, true},
		{"", "packed|closed 1012", "unpacked", true, true},
		{"panic", "packed|closed 1011", "", false, false},
		{strings.Repeat("a", 33<<10), "packed", "", false, false},
		{"panic there", "packed|closed 1012", "unpacked panic there", true, false},
		{"error there", "packed|closed 1012", "unpacked error there", true, false},
		{"close there", "packed|closed 1012", "unpacked close there", true, true},
	} {
		p, there := new(packer), new(packer)
		s := &web.Server{Root: socket.New(p, socket.Options{})}
		c := webtest.New(s.Handler())
		c.Receive([]byte(head + keys + "\r\n"))
		p.conn.Attach(test.with)
		p.events = nil
		parcel := c.Depart()
		if (parcel != nil) != test.leaves || strings.Join(p.events, "|") != test.here {
			t.Errorf("%.20q left: %t; told %q", test.with, parcel != nil, p.events)
		}
		if parcel == nil {
			continue
		}
		c, err := webtest.Arrive((&web.Server{Root: socket.New(there, socket.Options{})}).Handler(), parcel, nil)
		if (err == nil) != test.arrives || strings.TrimSpace(strings.Join(there.events, "|")) != test.there {
			t.Errorf("%.20q: %v; told %q", test.with, err, there.events)
		}
		if test.with == "close there" && !bytes.Contains(c.Sent, []byte{0x88, 0x02, 0x03, 0xf5}) {
			t.Errorf("the peer got %q", c.Sent)
		}
	}
	stays := &packer{stays: true}
	s := &web.Server{Root: socket.New(stays, socket.Options{})}
	c := webtest.New(s.Handler())
	c.Receive([]byte(head + keys + "\r\n"))
	stays.conn.Attach("")
	if c.Depart() != nil || stays.conn.Send(ws.Text, nil) != nil {
		t.Error("it left though its handler did not want it to, or does not go on")
	}
}

// TestPingsGoOn has a connection move while it is silent.
func TestPingsGoOn(t *testing.T) {
	o := socket.Options{Ping: 30 * time.Second, Pong: 20 * time.Second}
	g := connect(t, new(recorder), o, "", nil)
	move := func() {
		t.Helper()
		r := new(recorder)
		if err := g.moved(r, o); err != nil {
			t.Fatal(err)
		}
		g.recorder = r
	}
	g.Advance(20 * time.Second)
	move()
	g.Advance(9 * time.Second)
	g.hears()
	g.Advance(2 * time.Second)
	g.hears("ping")
	g.say(ws.Pong, "")
	move()
	g.Advance(29 * time.Second)
	g.hears()
	g.Advance(2 * time.Second)
	g.hears("ping")
	g.Advance(10 * time.Second)
	move()
	g.Advance(8 * time.Second)
	if g.State() != conn.Open {
		t.Error("it was given up too soon")
	}
	g.Advance(2 * time.Second)
	if !errors.Is(g.Why, conn.ErrTimeout) {
		t.Errorf("it is %v, because of %v", g.State(), g.Why)
	}
}

// TestWindowGoesAlong has a peer refer to what it sent before the connection moved.
func TestWindowGoesAlong(t *testing.T) {
	o := socket.Options{Deflate: &ws.Deflate{Keep: true}}
	g := connect(t, new(recorder), o, "Sec-WebSocket-Extensions: permessage-deflate\r\n", nil)
	first, second := compressed(t, "the same words and more of the same", "the same words and more of the same, again")
	frame := func(p []byte) []byte {
		return g.encoder.AppendFrame(nil, ws.Header{Opcode: ws.Text, Final: true, Deflated: true}, p)
	}
	g.Receive(frame(first))
	there := new(recorder)
	if err := g.moved(there, o); err != nil {
		t.Fatal(err)
	}
	g.recorder = there
	g.Receive(frame(second))
	g.told("opened", "text the same words and more of the")
	if g.State() != conn.Open {
		t.Errorf("it is %v", g.State())
	}
}

// TestForeignServices has a connection arrive where its service is not, or speaks otherwise.
func TestForeignServices(t *testing.T) {
	g := connect(t, new(recorder), socket.Options{Protocols: []string{"one"}}, "Sec-WebSocket-Protocol: one\r\n", nil)
	p := g.Depart()
	for _, test := range []struct {
		handler socket.Handler
		options socket.Options
		want    error
	}{
		{new(recorder), socket.Options{}, conn.ErrState},
		{new(recorder), socket.Options{Name: "another", Protocols: []string{"one"}}, web.ErrUpgrade},
		{new(packer), socket.Options{Protocols: []string{"one"}}, web.ErrUpgrade},
	} {
		s := &web.Server{Root: socket.New(test.handler, test.options)}
		if c, err := webtest.Arrive(s.Handler(), p, nil); !errors.Is(err, test.want) || c.Attached() != nil {
			t.Errorf("%v, want %v", err, test.want)
		}
	}
}

// FuzzUnpackSocket has any state arrive, and then a message.
func FuzzUnpackSocket(f *testing.F) {
	for _, lines := range []string{"", "Sec-WebSocket-Extensions: permessage-deflate\r\n"} {
		s := &web.Server{Root: socket.New(&recorder{}, socket.Options{Name: "s", Deflate: &ws.Deflate{Keep: true}})}
		c := webtest.New(s.Handler())
		c.Receive([]byte(head + keys + lines + "\r\n"))
		f.Add(c.Depart().State, true)
	}
	f.Fuzz(func(t *testing.T, state []byte, packs bool) {
		r := &packer{}
		var handler socket.Handler = r
		if !packs {
			handler = &r.recorder
		}
		s := &web.Server{Root: socket.New(handler, socket.Options{Name: "s", Deflate: &ws.Deflate{Keep: true}})}
		c, err := webtest.Arrive(s.Handler(), &conn.Parcel{State: state}, nil)
		if err != nil {
			if c.Attached() != nil {
				t.Error("something is attached behind an error")
			}
			return
		}
		c.Receive([]byte{0xc1, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'})
		c.Receive([]byte{0x81, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'})
		c.Advance(time.Hour)
		if c.State() != conn.Closed && !c.Paused {
			t.Errorf("it is %v after an hour", c.State())
		}
	})
}
