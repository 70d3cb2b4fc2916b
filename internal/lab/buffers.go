package lab

import (
	"context"
	"fmt"
	"strconv"
)

func buffers() Experiment {
	return Experiment{
		Name: "buffers", Title: "Large writes and large socket buffers",
		Seeds: []string{"000"},
		Claim: "100 MB written 1 KiB at a time take 25 s and 102,400 system calls, 64 KiB at a time 10 s and 1,600 calls, " +
			"over 100 Mbit/s. A socket's buffers have 8 KiB; 64 to 256 KiB are for throughput, 4 to 8 KiB for latency.",
		Varied: "bytes of a write, bytes of the socket's buffers on both sides",
		Method: "A process connects over the loopback, writes, and waits until the other side, which reads 256 KiB at a " +
			"time, has everything. Then over a wire of 100 Mbit/s: two network namespaces, and the kernel's token bucket " +
			"filter (tbf) between them. System calls are counted twice: by the writer, and by the kernel (syscw of " +
			"/proc/PID/io).",
		Takes: 70 * second, Quick: quickest, Full: 5 * minute, measure: measureBuffers, judge: judgeBuffers,
	}
}

const kibi = 1 << 10

func measureBuffers(ctx context.Context, s *Stand, r *Result) error {
	bytes := 100 << 20
	if s.Quick {
		bytes = 10 << 20
	}
	t := r.table("pieces", []string{"KiB a write"}, Column{"time", "s"}, Column{"writes counted", "calls"},
		Column{"writes by the kernel's count", "calls"}, Column{"CPU of the writer", "s"}, Column{"throughput", "MiB/s"})
	u := r.table("buffers", []string{"KiB of buffer", "KiB a write"}, Column{"throughput", "MiB/s"},
		Column{"CPU of the writer", "ms a MiB"})
	pieces, sizes := []int{1, 4, 16, 64, 256}, []int{4, 16, 64, 256, 1024, 4096, 0}
	for round := range s.Rounds {
		s.Tell("buffers: round %d", round+1)
		for _, i := range rotated(len(pieces), round) {
			piece := pieces[i]
			d, err := writeOnce(ctx, s, r, bytes, piece*kibi, 0)
			if err != nil {
				return err
			}
			want := int64((bytes + piece*kibi - 1) / (piece * kibi))
			// Besides its own writes the runtime makes some few, to wake a thread.
			r.check(d.Calls == want && d.Writes >= want && d.Writes < want+want/10+100,
				"%d KiB a write: %d calls were made, %d by the kernel's count, of %d", piece, d.Calls, d.Writes, want)
			t.add([]string{strconv.Itoa(piece)}, d.Took.Seconds(), float64(d.Calls), float64(d.Writes), d.CPU.Seconds(),
				float64(bytes)/(1<<20)/d.Took.Seconds())
		}
		for _, i := range rotated(len(sizes), round) {
			for _, piece := range []int{1, 64} {
				few := bytes / 8
				if sizes[i] > 0 && sizes[i] < 64 {
					few = 64 << 10 // the two ends then wait for each other's windows
				}
				d, err := writeOnce(ctx, s, r, few, piece*kibi, sizes[i]*kibi)
				if err != nil {
					return err
				}
				name := "the system's"
				if sizes[i] > 0 {
					name = strconv.Itoa(sizes[i])
				}
				mebibytes := float64(few) / (1 << 20)
				u.add([]string{name, strconv.Itoa(piece)}, mebibytes/d.Took.Seconds(), 1e3*d.CPU.Seconds()/mebibytes)
			}
		}
	}
	if err := measureSlowWrites(ctx, s, r, bytes); err != nil {
		return err
	}
	r.draw(Figure{
		Title: "System calls", Table: t.Name, Column: "writes counted", Over: "KiB a write", LogX: true, LogY: true,
	})
	r.draw(Figure{
		Title: "Processor time of the writer", Table: t.Name, Column: "CPU of the writer", Over: "KiB a write",
		LogX: true,
	})
	r.draw(Figure{
		Title: "Throughput, by the socket's buffers", Table: u.Name, Column: "throughput", Line: "KiB a write",
		Over: "KiB of buffer", Names: true,
	})
	return nil
}

func writeOnce(ctx context.Context, s *Stand, r *Result, bytes, piece, buffer int) (sent, error) {
	d, read, err := s.part(ctx, buffer, func(address string) []string {
		return []string{"write", address, strconv.Itoa(bytes), strconv.Itoa(piece), strconv.Itoa(buffer)}
	})
	if err == nil {
		r.check(d.Bytes == int64(bytes) && read == d.Bytes, "%d bytes a write, buffer %d: %d written and %d read are %d",
			piece, buffer, d.Bytes, read, bytes)
	}
	return d, err
}

const slowTable = "over a wire of 100 Mbit/s"

// measureSlowWrites has the two sizes of the text over a wire as fast as the text's.
func measureSlowWrites(ctx context.Context, s *Stand, r *Result, bytes int) error {
	if s.Quick {
		bytes /= 5
	}
	w, err := s.stretch(ctx, 100)
	if err != nil {
		r.note("There is no slow wire: %v.", err)
		return ctx.Err()
	}
	t := r.table(slowTable, []string{"KiB a write"}, Column{"time", "s"}, Column{"writes counted", "calls"},
		Column{"CPU of the writer", "s"}, Column{"throughput", "Mbit/s"})
	for round := range s.Rounds {
		for _, i := range rotated(2, round) {
			piece := []int{1, 64}[i]
			d, err := w.send(ctx, s, "write", strconv.Itoa(bytes), strconv.Itoa(piece*kibi), "0")
			if err != nil {
				return err
			}
			r.check(d.Bytes == int64(bytes), "%d KiB a write, slow wire: %d bytes of %d", piece, d.Bytes, bytes)
			t.add([]string{strconv.Itoa(piece)}, d.Took.Seconds(), float64(d.Calls), d.CPU.Seconds(),
				8*float64(bytes)/1e6/d.Took.Seconds())
		}
	}
	return s.endAll()
}

func judgeBuffers(r *Result) Verdict {
	t := r.find("pieces")
	time := t.median("time", "1") / t.median("time", "64")
	calls := t.median("writes counted", "1") / t.median("writes counted", "64")
	cpu := t.median("CPU of the writer", "1") / t.median("CPU of the writer", "64")
	u := r.find("buffers")
	own, small := u.median("throughput", "the system's", "64"), u.median("throughput", "4", "64")
	large := u.median("throughput", "4096", "64")
	why := fmt.Sprintf("1 KiB against 64 KiB a write: %.0f times the calls, %.1f times the writer's processor time, "+
		"%.1f times "+
		"the time over the loopback. The system's own buffers, which grow with the traffic, move %.1f times what 4 KiB "+
		"move, and 4 MiB %.1f times what the system's move.", calls, cpu, time, own/small, large/own)
	if r.has(slowTable) {
		w := r.find(slowTable)
		why += fmt.Sprintf(" Over 100 Mbit/s it is the wire that takes the time, %.1f s and %.1f s, and the writer's "+
			"processor time is %.1f times as much.", w.median("time", "1"), w.median("time", "64"),
			w.median("CPU of the writer", "1")/w.median("CPU of the writer", "64"))
	}
	if time > 1.5 && large > 1.1*own {
		return Verdict{Holds, why}
	}
	if time > 1.5 {
		return Verdict{Partly, why + " So large writes still pay; buffers are better left to the system."}
	}
	return Verdict{NoLonger, why}
}
