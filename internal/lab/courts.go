package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

func courts() Experiment {
	return Experiment{
		Name: "courts", Title: "A thousand users of an API that waits for another",
		Seeds: []string{"000"},
		Claim: "With 200 blocking threads and an upstream that takes 500 ms an API answers 100 requests a second after " +
			"2,000 " +
			"ms with 20 % of the processor; asynchronous with the same threads 800 after 600 ms with 60 %; with event " +
			"loops on " +
			"8 threads 1,200 after 400 ms with 70 %.",
		Varied: "how the program waits for its upstream",
		Method: "The example courts: GET /courts/{id} joins a court from a store in the program with the weather of a " +
			"server " +
			"that answers after 500 ms. 1,000 connections ask as fast as they are answered. Blocking is 200 threads, each " +
			"with one request; async is a goroutine for each; the loop is one event loop of this server, which goroutines " +
			"tell when the weather has come. The server that is asked runs beside the load.",
		Takes: 2 * minute, Quick: quickest, Full: 10 * minute, measure: measureCourts, judge: judgeCourts,
	}
}

func measureCourts(ctx context.Context, s *Stand, r *Result) error {
	example, err := s.build(ctx, "./examples/courts")
	if err != nil {
		return err
	}
	users, length := 1000, 10*second
	if s.Quick {
		users, length = 400, 3*second
	}
	weather, err := freeAddress()
	if err != nil {
		return err
	}
	if _, err := s.start(ctx, spec{
		name: "weather", address: weather, onLoad: true, command: []string{example, "-how", "weather", "-listen", weather},
	}); err != nil {
		return err
	}
	ways := []string{"blocking", "async", "loop"}
	t := r.table("courts", []string{"way"}, Column{"TPS", "requests/s"}, Column{"mean response", "ms"},
		Column{"p99 response", "ms"}, Column{"threads", "threads"}, Column{"CPU", "%"})
	for round := range s.Rounds {
		for _, i := range rotated(len(ways), round) {
			s.Tell("courts: %s", ways[i])
			address, err := freeAddress()
			if err != nil {
				return err
			}
			p, err := s.start(ctx, spec{name: ways[i], address: address, command: []string{
				example, "-how", ways[i], "-listen", address, "-weather", weather,
			}})
			if err != nil {
				return err
			}
			o, err := s.ask(ctx, demand{
				target: "http://" + address + "/courts/3", connections: users, length: length, warmUp: second,
				timeout: 20 * time.Second, any: true, watch: []int{p.pid},
			})
			if err != nil {
				return err
			}
			w := o.watched
			r.check(o.failed == 0 && o.good > 0 && w.looks > 1, "%s: all of %d requests were answered", ways[i], o.begun)
			t.add([]string{ways[i]}, o.perSecond, o.mean, o.p99, float64(w.last.threads),
				100*float64(w.last.time-w.first.time)/float64(max(1, w.between)))
			if err := s.end(p); err != nil {
				return err
			}
		}
	}
	r.note("%d users. 200 threads that wait 500 ms each answer 400 requests a second; that it should be 200 / (1000 "+
		"/ 500), "+
		"as the text computes, divides where it should multiply.", users)
	for _, c := range []string{"TPS", "mean response", "threads"} {
		r.draw(Figure{Title: c, Table: t.Name, Column: c, Over: "way", Names: true})
	}
	return nil
}

func judgeCourts(r *Result) Verdict {
	t := r.find("courts")
	describe := func(way string) string {
		return fmt.Sprintf("%s %.0f TPS after %.0f ms on %s threads", way, t.median("TPS", way),
			t.median("mean response", way), strconv.Itoa(int(t.median("threads", way))))
	}
	why := describe("blocking") + "; " + describe("async") + "; " + describe("loop") + "."
	held := t.median("TPS", "blocking")
	if t.median("TPS", "async") > 1.5*held && t.median("TPS", "loop") > 1.5*held {
		return Verdict{Holds, why + " That waiting must not hold a thread holds; the gap between async and a loop does not " +
			"show where goroutines are the asynchronous way, and a response faster than the 500 ms of its upstream, as the " +
			"text has it, cannot be."}
	}
	return Verdict{Partly, why}
}
