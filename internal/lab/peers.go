package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func peers() Experiment {
	return Experiment{
		Name: "peers", Title: "Beside the servers that people use",
		Seeds: []string{"000", "003", "004"},
		Claim: "nginx, and servers like it, are the fast ones: they wait for events, send files without copying and keep " +
			"connections.",
		Varied: "the server",
		Method: "Nothing is run: the samples in a folder of results (--peers) are read, one file for each workload, as " +
			"a harness " +
			"outside this program writes them. Each server's processor time is divided by the requests.",
		Takes: second, Quick: quickest, Full: minute, measure: measurePeers, judge: judgePeers,
	}
}

// peerSamples is what is read of a file of results: samples by role and server.
type peerSamples struct {
	Workload string                                     `json:"workload"`
	Date     string                                     `json:"date"`
	Samples  map[string]map[string][]map[string]float64 `json:"samples"`
}

func measurePeers(_ context.Context, s *Stand, r *Result) error {
	t := r.table("processor time", []string{"workload", "server"}, Column{"to nginx", "ratio"})
	files, err := filepath.Glob(filepath.Join(s.Peers, "w*.json"))
	if s.Peers == "" || err != nil || len(files) == 0 {
		r.Tables = nil
		r.note("No folder with results was named (--peers), or there are none in it: nothing was compared.")
		return err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var p peerSamples
		if err := json.Unmarshal(text, &p); err != nil {
			r.note("%s is in another form and was left out: %v", filepath.Base(name), err)
			continue
		}
		for role, servers := range p.Samples {
			reference := servers["nginx"]
			for server, samples := range servers {
				for i, one := range samples {
					if i < len(reference) && reference[i]["cpu_us"] > 0 && one["cpu_us"] > 0 {
						t.add([]string{p.Workload + " " + role, server}, one["cpu_us"]/reference[i]["cpu_us"])
					}
				}
			}
		}
		r.note("%s is of %s.", filepath.Base(name), p.Date)
	}
	if len(t.Rows) == 0 {
		return fmt.Errorf("no figures were found in %s", s.Peers)
	}
	slices.SortFunc(t.Rows, func(a, b *Row) int { return slices.Compare(a.Key, b.Key) })
	r.draw(Figure{
		Title: "Processor time of a request, to nginx", Table: t.Name, Column: "to nginx", Line: "workload",
		Over: "server", Names: true,
	})
	return nil
}

func judgePeers(r *Result) Verdict {
	if len(r.Tables) == 0 {
		return Verdict{NotJudged, "No results of other servers were given."}
	}
	return Verdict{NotJudged, fmt.Sprintf("%d figures of other runs are shown; the figures of this server beside "+
		"nginx, with "+
		"what was done, are in docs/performance.md.", len(r.find("processor time").Rows))}
}
