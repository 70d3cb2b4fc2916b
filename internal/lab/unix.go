package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

func unix() Experiment {
	return Experiment{
		Name: "unix", Title: "A Unix socket against TCP on the loopback, and TCP against UDP",
		Seeds: []string{"002", "000"},
		Claim: "Between processes of one machine a Unix domain socket performs better than TCP to localhost. TCP " +
			"is slow, because of what it does for reliability, and UDP fast.",
		Varied: "the socket, and the connections",
		Method: "The same server listens on both in turn: 13 bytes are answered, one loop. First one connection asks " +
			"(latency), then 64 (throughput). Then a process sends back 64 bytes by TCP or by UDP, to one client.",
		Takes: 80 * second, Quick: quickest, Full: 5 * minute, measure: measureUnix, judge: judgeUnix,
	}
}

func measureUnix(ctx context.Context, s *Stand, r *Result) error {
	length := 4 * time.Second
	if s.Quick {
		length = 500 * time.Millisecond
	}
	t := r.table("sockets", []string{"socket", "connections"}, Column{"reply rate", "replies/s"},
		Column{"median latency", "ms"}, Column{"p99 latency", "ms"}, Column{"server CPU per request", "us"})
	for round := range s.Rounds {
		for _, n := range []int{1, active} {
			for _, i := range rotated(2, round) {
				kind := []string{"tcp", "unix"}[i]
				s.Tell("unix: %s, %d connections", kind, n)
				address, err := freeAddress()
				if err != nil {
					return err
				}
				target := "http://" + address + "/"
				if kind == "unix" {
					path := filepath.Join(s.dir, "hello.sock")
					address, target = "unix:"+path, "http+unix:"+path+":/"
				}
				p, err := s.serveAt(ctx, kind, address, 0, "--model", "reactor", "--loops", "1")
				if err != nil {
					return err
				}
				o, err := s.ask(ctx, demand{target: target, connections: n, length: length, server: p.pid})
				if err != nil {
					return err
				}
				r.check(o.failed == 0 && o.good > 0, "%s, %d connections: all of %d requests were answered", kind, n, o.begun)
				a, err := p.account(ctx)
				if err != nil {
					return err
				}
				r.check(a.Requests >= int64(o.good), "%s: the server counts as many requests, or more: %d, %d", kind, a.Requests,
					o.good)
				t.add([]string{kind, strconv.Itoa(n)}, o.perSecond, o.p50, o.p99, o.cpu)
				if err := s.end(p); err != nil {
					return err
				}
			}
		}
	}
	if err := measureEcho(ctx, s, r, length); err != nil {
		return err
	}
	for _, c := range []string{"reply rate", "median latency", "server CPU per request"} {
		r.draw(Figure{Title: c, Table: t.Name, Column: c, Line: "socket", Over: "connections", Names: true})
	}
	return nil
}

const echoTable = "64 bytes there and back, one client"

// measureEcho has TCP and UDP do the same: one at a time, so that neither has anything to gather or to lose.
func measureEcho(ctx context.Context, s *Stand, r *Result, length time.Duration) error {
	t := r.table(echoTable, []string{"protocol"}, Column{"echoes", "1/s"}, Column{"median latency", "us"},
		Column{"p99 latency", "us"}, Column{"server CPU per echo", "us"})
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			protocol := []string{"tcp", "udp"}[i]
			s.Tell("unix: echo by %s", protocol)
			address, err := freeAddress()
			if err != nil {
				return err
			}
			p, err := s.start(ctx, spec{
				name: "echo", address: address, command: []string{s.Program, "lab", "part", "echo", address},
			})
			if err != nil {
				return err
			}
			o, err := s.ask(ctx, demand{
				target: protocol + "://" + address, connections: 1, length: length, any: true, server: p.pid,
			})
			if err != nil {
				return err
			}
			r.check(o.failed == 0 && o.good > 0, "%s: all of %d echoes came back", protocol, o.begun)
			t.add([]string{protocol}, o.perSecond, 1e3*o.p50, 1e3*o.p99, o.cpu)
			if err := s.end(p); err != nil {
				return err
			}
		}
	}
	r.draw(Figure{
		Title: "TCP and UDP: median latency", Table: t.Name, Column: "median latency", Over: "protocol", Names: true,
	})
	return nil
}

func judgeUnix(r *Result) Verdict {
	t := r.find("sockets")
	many := strconv.Itoa(active)
	rate := t.median("reply rate", "unix", many) / t.median("reply rate", "tcp", many)
	delay := t.median("median latency", "unix", "1") / t.median("median latency", "tcp", "1")
	cpu := t.median("server CPU per request", "unix", many) / t.median("server CPU per request", "tcp", many)
	why := fmt.Sprintf("Unix against TCP: %.2f times the replies of %s connections, %.2f times the latency of one, %.2f "+
		"times the server's processor time of a request.", rate, many, delay, cpu)
	e := r.find(echoTable)
	why += fmt.Sprintf(" UDP against TCP, 64 bytes there and back: %.2f times the latency, %.2f times the server's "+
		"processor time.", e.median("median latency", "udp")/e.median("median latency", "tcp"),
		e.median("server CPU per echo", "udp")/e.median("server CPU per echo", "tcp"))
	switch {
	case rate > 1.05 && delay < 1:
		return Verdict{Holds, why}
	case rate > 1.05 || delay < 0.95 || cpu < 0.95:
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
