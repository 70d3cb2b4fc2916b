package control

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// family is a metric of all workers: what is said of it, and its samples.
type family struct {
	about   []string
	samples []string
}

// metrics gives the metrics of all workers in one, each sample with its worker as a label, and those of the workers as
// processes.
func (a *above) metrics(w http.ResponseWriter, r *http.Request) {
	replies, ok := a.ask(w, r, nil, nil)
	if !ok {
		return
	}
	families, order := map[string]*family{}, []string{}
	for _, one := range replies {
		order = gather(families, order, one.worker, one.text)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	out := bufio.NewWriter(w)
	for _, name := range order {
		f := families[name]
		for _, line := range append(f.about, f.samples...) {
			_, _ = out.WriteString(line) // whoever asked has gone
			_ = out.WriteByte('\n')
		}
	}
	if all, err := a.rated(r.Context()); err == nil {
		writeWorkers(out, &all)
	}
	_ = out.Flush()
}

// gather sorts the lines of a worker's text into families, and returns these in the order of their first appearance.
func gather(families map[string]*family, order []string, worker uint64, text []byte) []string {
	var is *family
	known := len(order)
	for line := range strings.SplitSeq(string(bytes.TrimSpace(text)), "\n") {
		words := strings.SplitN(line, " ", 4)
		if len(words) > 2 && words[0] == "#" && (words[1] == "HELP" || words[1] == "TYPE") {
			name := words[2]
			if is = families[name]; is == nil {
				is = &family{}
				families[name], order = is, append(order, name)
			}
			if slices.Contains(order[known:], name) { // it is new with this worker
				is.about = append(is.about, line)
			}
			continue
		}
		if is != nil && line != "" && line[0] != '#' {
			is.samples = append(is.samples, labelled(line, worker))
		}
	}
	return order
}

// labelled adds the worker to the labels of a sample.
func labelled(line string, worker uint64) string {
	label := `worker="` + strconv.FormatUint(worker, 10) + `"`
	space, brace := strings.IndexByte(line, ' '), strings.IndexByte(line, '{')
	switch {
	case brace >= 0 && (space < 0 || brace < space):
		if strings.HasPrefix(line[brace+1:], "}") {
			return line[:brace+1] + label + line[brace+1:]
		}
		return line[:brace+1] + label + "," + line[brace+1:]
	case space >= 0:
		return line[:space] + "{" + label + "}" + line[space:]
	}
	return line
}

// writeWorkers writes what is known of the workers as processes.
func writeWorkers(out io.Writer, all *Workers) {
	fmt.Fprintf(out, "# HELP myriad_workers_desired Worker processes that there are to be.\n"+
		"# TYPE myriad_workers_desired gauge\nmyriad_workers_desired %d\n", all.Desired)
	fmt.Fprintf(out, "# HELP myriad_workers_ready Worker processes that serve.\n"+
		"# TYPE myriad_workers_ready gauge\nmyriad_workers_ready %d\n", all.Ready)
	for _, of := range []struct {
		name, kind, about string
		value             func(w *Worker) float64
	}{
		{"myriad_worker_up", "gauge", "1 if the worker serves.", func(w *Worker) float64 {
			if w.State == "serving" {
				return 1
			}
			return 0
		}},
		{"myriad_worker_processor_seconds_total", "counter", "Processor time of the worker.", func(w *Worker) float64 {
			return float64(w.ProcessorTime) / 1e9
		}},
		{"myriad_worker_resident_bytes", "gauge", "Resident memory of the worker.", func(w *Worker) float64 {
			return float64(w.ResidentBytes)
		}},
		{
			"myriad_worker_restarts", "gauge", "Deaths in the worker's seat that nobody had asked for.",
			func(w *Worker) float64 { return float64(w.Restarts) },
		},
	} {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", of.name, of.about, of.name, of.kind)
		for i := range all.Workers {
			w := &all.Workers[i]
			fmt.Fprintf(out, "%s{worker=\"%d\",slot=\"%d\"} %s\n", of.name, w.Worker, w.Slot,
				strconv.FormatFloat(of.value(w), 'g', -1, 64))
		}
	}
}
