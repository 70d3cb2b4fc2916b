package lab

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFreeAddresses takes the ports in a row that are said to be free. Somebody else may be faster: hence the tries.
func TestFreeAddresses(t *testing.T) {
	taken := func() (err error) {
		address, err := freeAddresses(3)
		if err != nil {
			t.Fatal(err)
		}
		first, err := net.ResolveTCPAddr("tcp4", address)
		if err != nil || !first.IP.IsLoopback() {
			t.Fatalf("%s: %v", address, err)
		}
		for i := range 3 {
			l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: first.IP, Port: first.Port + i})
			if err != nil {
				return err
			}
			defer func() { _ = l.Close() }()
		}
		return nil
	}
	var err error
	for range 10 {
		if err = taken(); err == nil {
			return
		}
	}
	t.Error(err)
}

// TestOutcomesAdd has two loads at the same time make one outcome.
func TestOutcomesAdd(t *testing.T) {
	load := func(good uint64, p50, p99, mean float64, took time.Duration) outcome {
		return outcome{
			perSecond: float64(good), good: good, failed: 1, begun: good + 1, p50: p50, p99: p99, mean: mean,
			errors: map[string]uint64{"timeout": 1}, watched: watched{
				last: usage{time: took, threads: 5, resident: 100, switches: 40}, good: [2]int64{0, int64(good)},
				between: 2 * time.Second, looks: 4, proportional: 60,
			},
		}
	}
	a, b := load(100, 1, 9, 2, 3*time.Millisecond), load(300, 2, 5, 4, 5*time.Millisecond)
	a.add(&b)
	w := &a.watched
	if a.good != 400 || a.failed != 2 || a.begun != 402 || a.perSecond != 400 || a.errors["timeout"] != 2 {
		t.Errorf("sums: %+v", a)
	}
	if a.p50 != 2 || a.p99 != 9 || a.mean != 3.5 {
		t.Errorf("response times: %v, %v, %v", a.p50, a.p99, a.mean)
	}
	if w.last.threads != 10 || w.last.resident != 200 || w.proportional != 120 || w.switches() != 40 || w.cpu() != 20 {
		t.Errorf("processes: %+v, %v switches, %v us", w, w.switches(), w.cpu())
	}
}

// TestProportional reads the memory of this process, which grows meanwhile, and of this process counted twice.
func TestProportional(t *testing.T) {
	own, err := used(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	part, err := proportional([]int{os.Getpid()})
	if err != nil || part <= 0 || part > 2*own.resident {
		t.Errorf("%d of %d bytes: %v", part, own.resident, err)
	}
	twice, err := usedByAll([]int{os.Getpid(), os.Getpid()})
	if err != nil || twice.resident < own.resident || twice.threads < 2*own.threads {
		t.Errorf("%+v twice is %+v: %v", own, twice, err)
	}
}

// TestProcessesJudged tells of process models where they were measured, and nothing of results from before.
func TestProcessesJudged(t *testing.T) {
	r := sample()
	table := r.table("models", []string{"model", "connections"}, Column{"not answered", "%"},
		Column{"proportional memory", "MiB"}, Column{"CPU per request", "us"}, Column{"context switches", "1/s"})
	table.add([]string{"thread", "10"}, 0, 90, 80, 7000)
	table.add([]string{"reactor", "10"}, 0, 15, 40, 2000)
	r.finish()
	if said := judgeProcesses(table, "10"); said != "" {
		t.Errorf("nothing was measured: %s", said)
	}
	for i, m := range processModels() {
		table.add([]string{m, "10"}, 0, float64(30+i), float64(50+i), float64(1000+i))
	}
	r.finish()
	said := judgeProcesses(table, "10")
	for _, want := range []string{
		"reuseport 0.0 % (30 MiB)", "ports 0.0 % (33 MiB)", "50 to 53 us", "1000 to 1003 context", "are not dear",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q: %s", want, said)
		}
	}
}
