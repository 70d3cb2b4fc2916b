package ws_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/myriad-server/myriad/proto/ws"
	"github.com/myriad-server/myriad/proto/ws/wstest"
)

// echo is a server made of the codec alone. It keeps what the decoder has not used, as a connection does.
type echo struct {
	decoder ws.Decoder
	encoder ws.Encoder
	rest    []byte
	ended   bool
}

// newEcho makes a server that has agreed with a client on what it offers.
func newEcho(t testing.TB, offer string, largest int64) *echo {
	t.Helper()
	agreed, _, err := (&ws.Deflate{}).Accept(offer)
	if err != nil || agreed.On != (offer != "") {
		t.Fatalf("offer %q: %v, %+v", offer, err, agreed)
	}
	e := &echo{encoder: ws.Encoder{Agreed: agreed, Least: 1}}
	e.decoder.Start(ws.NewRules(ws.Limits{MessageBytes: largest}, false), agreed)
	return e
}

// feed takes bytes of the client and returns those of the server.
func (e *echo) feed(in []byte) (out []byte) {
	e.rest = append(e.rest, in...)
	at := e.rest
	for !e.ended {
		opcode, payload, used, err := e.decoder.Next(at)
		at = at[used:]
		switch {
		case err != nil:
			out, e.ended = e.encoder.AppendClose(out, err.(*ws.Error).Code, err.Error()), true
		case opcode == ws.Text || opcode == ws.Binary:
			out = e.encoder.AppendMessage(out, opcode, payload)
		case opcode == ws.Ping:
			out = e.encoder.AppendControl(out, ws.Pong, payload)
		case opcode == ws.Close:
			code, _, _ := ws.ParseClose(payload)
			if code == ws.CodeNone {
				code = ws.CodeNormal
			}
			out, e.ended = e.encoder.AppendClose(out, code, ""), true
		case opcode == ws.Continuation && used == 0:
			e.rest = e.rest[:copy(e.rest, at)]
			return out
		}
	}
	return out
}

// cutting is a way to cut what a client sends.
type cutting struct {
	name string
	cut  func(at int) int
}

// cuttings are those that matter for a case: whole, byte by byte, in blocks, and in two at every place that is near the
// beginning of a frame or its payload.
func cuttings(c *wstest.Case, s *wstest.Script) []cutting {
	all := func(int) int { return len(s.Send) }
	list := []cutting{{"whole", all}, {"blocks", func(at int) int { return 16<<10 - at%(16<<10) }}}
	if c.Chop > 0 {
		list = append(list, cutting{"as sent", func(int) int { return c.Chop }})
	}
	if len(s.Send) > 1<<20 {
		return list
	}
	list = append(list, cutting{"odd", func(at int) int { return 1 + at*7919%613 }})
	if len(s.Send) > 70_000 || c.Offer != "" && len(s.Send) > 3000 {
		return list
	}
	list = append(list, cutting{"bytes", func(int) int { return 1 }})
	if len(s.Frames) > 20 || race && len(s.Send) > 1000 {
		return list
	}
	var places []int
	for i, frame := range s.Frames {
		end := len(s.Send)
		if i+1 < len(s.Frames) {
			end = s.Frames[i+1]
		}
		for at := frame; at < min(frame+20, end); at++ {
			places = append(places, at)
		}
		for at := max(frame, end-8); at < end; at++ {
			places = append(places, at)
		}
	}
	slices.Sort(places)
	for i, place := range slices.Compact(places) {
		if race && i%16 > 0 {
			continue
		}
		list = append(list, cutting{fmt.Sprintf("at %d", place), func(at int) int {
			if at < place {
				return place - at
			}
			return len(s.Send)
		}})
	}
	return list
}

// TestConformance plays the whole table against the codec, cut in all ways that matter.
func TestConformance(t *testing.T) {
	cases := wstest.Cases(16 << 10)
	if testing.Short() || race {
		cases = wstest.Small(wstest.Cases(1 << 10))
	}
	played := 0
	for _, c := range cases {
		t.Run(c.Number, func(t *testing.T) {
			s := c.Script()
			for _, way := range cuttings(&c, s) {
				if err := c.Play(s, way.cut, newEcho(t, c.Offer, wstest.LargestMessage).feed); err != nil {
					t.Fatalf("%s; cut %s: %v", c.What, way.name, err)
				}
				played++
			}
		})
	}
	t.Logf("%d cases, played %d times", len(cases), played)
}

// TestNumbers wants every number of the Autobahn test suite once, and each group complete.
func TestNumbers(t *testing.T) {
	counts := map[string]int{}
	seen := map[string]bool{}
	for _, c := range wstest.Cases(1) {
		if seen[c.Number] || c.What == "" {
			t.Errorf("%s comes twice or says nothing", c.Number)
		}
		seen[c.Number] = true
		group := c.Number[:strings.LastIndexByte(c.Number, '.')]
		if counts[group]++; c.Number != fmt.Sprintf("%s.%d", group, counts[group]) {
			t.Errorf("%s is number %d of its group", c.Number, counts[group])
		}
	}
	want := map[string]int{
		"1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20, "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5,
		"6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3, "6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1,
		"6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5, "6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7, "7.1": 6, "7.3": 6,
		"7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2, "9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6,
		"9.8": 6, "10.1": 1, "12.1": 18, "12.2": 18, "12.3": 18, "12.4": 18, "12.5": 18, "13.1": 18, "13.2": 18,
		"13.3": 18, "13.4": 18, "13.5": 18, "13.6": 18, "13.7": 18,
	}
	for group, n := range want {
		if counts[group] != n {
			t.Errorf("group %s has %d cases, not %d", group, counts[group], n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("there are %d groups, not %d", len(counts), len(want))
	}
}
