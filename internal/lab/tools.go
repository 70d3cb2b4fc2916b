package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/load"
)

// job is what a load generator is asked to do.
type job struct {
	address     string
	connections int
	length      time.Duration
	due         int // requests a second, for those that have a schedule
}

func (j job) url() string { return "http://" + j.address + "/" }

// heard is what a generator says of it. Times are milliseconds; what it does not tell is not a number.
type heard struct {
	answers, failed, perSecond float64
	p99, p999, longest         float64
	cpu                        float64 // microseconds of the generator's processor time for an answer, by the kernel
}

// tool is a load generator.
type tool struct {
	name, program string
	scheduled     bool // it asks whether it is answered or not
	tails         bool // it tells percentiles
	// command is what is run in a folder, and read what is understood of what it said and wrote there.
	command func(j job, folder string) ([]string, error)
	read    func(said, folder string) (heard, error)
}

func allTools(s *Stand) []tool {
	bench := func(more func(j job) []string) func(job, string) ([]string, error) {
		return func(j job, _ string) ([]string, error) {
			return append([]string{
				s.Program, "bench", j.url(), "--quiet", "--json", "-", "--connections", strconv.Itoa(j.connections), "--duration",
				j.length.String(),
			}, more(j)...), nil
		}
	}
	return []tool{
		{
			name: ours, program: s.Program, tails: true, read: readBench, command: bench(func(job) []string { return nil }),
		},
		{
			name: ours + openLoop, program: s.Program, tails: true, scheduled: true, read: readBench,
			command: bench(func(j job) []string { return []string{"--rate", strconv.Itoa(j.due)} }),
		},
		{name: "wrk", program: "wrk", tails: true, command: wrk, read: readWrk},
		{name: "ab", program: "ab", tails: true, command: ab, read: readAB},
		{name: "siege", program: "siege", command: siege, read: readSiege},
	}
}

// generate runs a generator to its end.
func (s *Stand) generate(ctx context.Context, t tool, j job) (h heard, err error) {
	s.Tell("generators: %s, %d connections, %v", t.name, j.connections, j.length)
	command, err := t.command(j, s.dir)
	if err != nil {
		return h, err
	}
	said, p, err := s.finished(ctx, spec{name: "generator", onLoad: true, command: command})
	if err != nil {
		return h, err
	}
	if h, err = t.read(said, s.dir); err != nil {
		return h, fmt.Errorf("%s said %q: %w", t.name, said, err)
	}
	used := p.command.ProcessState.UserTime() + p.command.ProcessState.SystemTime()
	h.cpu = float64(used.Microseconds()) / max(1, h.answers)
	return h, nil
}

func readBench(said, _ string) (heard, error) {
	var r load.Report
	err := json.Unmarshal([]byte(said), &r)
	return heard{
		answers: float64(r.Requests.Good), failed: float64(r.Requests.Failed + r.Requests.Dropped + r.Requests.Left),
		perSecond: r.Requests.PerSecond, p99: milliseconds(r.Latency.P99), p999: milliseconds(r.Latency.P999),
		longest: milliseconds(r.Latency.Longest),
	}, err
}

// wrkScript has wrk tell what it measured in a form that can be read, with a percentile that it does not show.
const wrkScript = `done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"answers":%d,"failed":%d,"microseconds":%d,"p99":%d,"p999":%d,"longest":%d}\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration,
    latency:percentile(99), latency:percentile(99.9), latency.max))
end
`

func wrk(j job, folder string) ([]string, error) {
	script := filepath.Join(folder, "wrk.lua")
	return []string{
		"wrk", "-t1", "-c" + strconv.Itoa(j.connections), fmt.Sprintf("-d%ds", int(j.length/second)), "-s", script, j.url(),
	}, os.WriteFile(script, []byte(wrkScript), 0o600)
}

func readWrk(said, _ string) (h heard, err error) {
	start := strings.LastIndex(said, "\n{")
	if start < 0 {
		return h, fmt.Errorf("there is no summary")
	}
	var w struct{ Answers, Failed, Microseconds, P99, P999, Longest float64 }
	err = json.Unmarshal([]byte(said[start:]), &w)
	return heard{
		answers: w.Answers, failed: w.Failed, perSecond: w.Answers * 1e6 / w.Microseconds, p99: w.P99 / 1e3,
		p999: w.P999 / 1e3, longest: w.Longest / 1e3,
	}, err
}

// ab ends after so many requests if not by its time; it keeps some bytes for each.
const abMost = 1_000_000

func ab(j job, folder string) ([]string, error) {
	return []string{
		"ab", "-k", "-q", "-c", strconv.Itoa(j.connections), "-t", strconv.Itoa(int(j.length / second)), "-n",
		strconv.Itoa(abMost), "-g", filepath.Join(folder, "ab.tsv"), j.url(),
	}, nil
}

var (
	abRequests = regexp.MustCompile(`(?m)^Complete requests: +(\d+)`)
	abFailed   = regexp.MustCompile(`(?m)^Failed requests: +(\d+)`)
	abRate     = regexp.MustCompile(`(?m)^Requests per second: +([\d.]+)`)
)

func readAB(said, folder string) (h heard, err error) {
	for _, one := range []struct {
		what *regexp.Regexp
		to   *float64
	}{{abRequests, &h.answers}, {abFailed, &h.failed}, {abRate, &h.perSecond}} {
		found := one.what.FindStringSubmatch(said)
		if found == nil {
			return h, fmt.Errorf("there is no %v", one.what)
		}
		if *one.to, err = strconv.ParseFloat(found[1], 64); err != nil {
			return h, err
		}
	}
	text, err := os.ReadFile(filepath.Join(folder, "ab.tsv"))
	if err != nil {
		return h, err
	}
	const total = 4 // the column of whole times: begin, seconds, connecting, processing, both, waiting
	var times []float64
	for line := range bytes.Lines(text) {
		if fields := bytes.Split(line, []byte("\t")); len(fields) > total {
			if v, err := strconv.ParseFloat(string(fields[total]), 64); err == nil { // the first line is of names
				times = append(times, v)
			}
		}
	}
	h.p99, h.p999, h.longest = percentile(times, 0.99), percentile(times, 0.999), percentile(times, 1)
	return h, nil
}

// percentile is the time that a share of all has not exceeded; not a number of none.
func percentile(times []float64, share float64) float64 {
	if len(times) == 0 {
		return math.NaN()
	}
	slices.Sort(times)
	return times[min(len(times)-1, max(0, int(math.Ceil(share*float64(len(times))))-1))]
}

const siegeSettings = `connection = keep-alive
limit = 255
json_output = true
color = off
logging = false
parser = false
`

// siege takes the time that it needs to start its threads off the time that it is given: with less than a few seconds
// a busy machine leaves it none.
func siege(j job, folder string) ([]string, error) {
	file := filepath.Join(folder, "siege.conf")
	return []string{
		"env", "HOME=" + folder, "siege", "-R", file, "-b", "-c", strconv.Itoa(j.connections), "-t",
		fmt.Sprintf("%dS", max(3, int(j.length/second))), j.url(),
	}, os.WriteFile(file, []byte(siegeSettings), 0o600)
}

func readSiege(said, _ string) (h heard, err error) {
	start := strings.Index(said, "{")
	if start < 0 {
		return h, fmt.Errorf("there is no summary")
	}
	var w struct {
		Good    float64 `json:"successful_transactions"`
		Failed  float64 `json:"failed_transactions"`
		Rate    float64 `json:"transaction_rate"`
		Longest float64 `json:"longest_transaction"`
	}
	err = json.Unmarshal([]byte(said[start:]), &w)
	nothing := math.NaN()
	return heard{
		answers: w.Good, failed: w.Failed, perSecond: w.Rate, p99: nothing, p999: nothing, longest: 1e3 * w.Longest,
	}, err
}
