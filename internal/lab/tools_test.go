package lab

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTools reads what generators write, in the form in which they write it.
func TestTools(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("starttime\tseconds\tctime\tdtime\tttime\twait\n")
	for i := range 1000 {
		fmt.Fprintf(&rows, "Sun Nov 22 15:54:08 2026\t1795362848\t0\t0\t%d\t0\n", i%999) // one of 998, two of 0
	}
	if err := os.WriteFile(filepath.Join(dir, "ab.tsv"), []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		read func(said, folder string) (heard, error)
		said string
		want heard
	}{
		{
			"ab", readAB, "Complete requests:      55700\nFailed requests:        3\n" +
				"Requests per second:    5569.10 [#/sec] (mean)\n",
			heard{answers: 55700, failed: 3, perSecond: 5569.1, p99: 988, p999: 997, longest: 998},
		},
		{
			"siege", readSiege, "New configuration template added\n{\t\"transactions\":\t7532,\n\"elapsed_time\": 4.00,\n" +
				"\"transaction_rate\": 1883.00,\n\"successful_transactions\": 7532,\n\"failed_transactions\": 0,\n" +
				"\"longest_transaction\": 0.05\n}\n",
			heard{answers: 7532, perSecond: 1883, p99: math.NaN(), p999: math.NaN(), longest: 50},
		},
		{
			"wrk", readWrk, "Requests/sec:  1.0\n\n" +
				`{"answers":3000,"failed":1,"microseconds":2000000,"p99":40100,"p999":50000,"longest":61000}` + "\n",
			heard{answers: 3000, failed: 1, perSecond: 1500, p99: 40.1, p999: 50, longest: 61},
		},
		{
			ours, readBench, `{"requests":{"good":40,"failed":1,"dropped":2,"left":3,"good_per_second":4.5},` +
				`"latency":{"p99_nanoseconds":1000000,"p99_9_nanoseconds":2000000,"max_nanoseconds":3000000}}`,
			heard{answers: 40, failed: 6, perSecond: 4.5, p99: 1, p999: 2, longest: 3},
		},
	} {
		got, err := c.read(c.said, dir)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		if got, err := c.read("nothing of the kind", dir); err == nil {
			t.Errorf("%s: %+v was read out of nothing", c.name, got)
		}
	}
}

// TestPercentile asks few times, where each counts.
func TestPercentile(t *testing.T) {
	for share, want := range map[float64]float64{0: 1, 0.5: 2, 0.75: 3, 0.99: 4, 1: 4} {
		if got := percentile([]float64{4, 1, 3, 2}, share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if got := percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

// TestJudgeGenerators has rates agree or not, and a stall seen or not.
func TestJudgeGenerators(t *testing.T) {
	for _, c := range []struct {
		wrk, closed float64 // its rate, where ours is 1,000; our tail in a closed loop, where that of the open one is 1,000
		want        Answer
		why         string
	}{
		{1015, 990, Holds, "wrk +1.5 % of it"},
		{1015, 20, Partly, "a closed loop hides"},
		{900, 990, Partly, "Not all rates"},
	} {
		r := newResult(generators(), &Stand{Quick: true, Rounds: 1})
		rates := r.table(rateTable, []string{"generator"}, Column{"rate", "answers/s"}, Column{"answers", "requests"})
		rates.add([]string{ours}, 1000, 1)
		rates.add([]string{"wrk"}, c.wrk, 1)
		stalls := r.table(stallTable, []string{"generator"}, Column{"p99", "ms"}, Column{"p99.9", "ms"},
			Column{"longest", "ms"}, Column{"answers", "requests"})
		stalls.add([]string{ours}, 1, c.closed, 1000, 1)
		stalls.add([]string{ours + openLoop}, 1, 1000, 1000, 1)
		costs := r.table(costTable, []string{"generator", "connections"}, Column{"CPU per answer", "us"},
			Column{"rate", "answers/s"})
		costs.add([]string{ours, "64"}, 5, 1)
		r.finish()
		if got := judgeGenerators(r); got.Answer != c.want || !strings.Contains(got.Why, c.why) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
