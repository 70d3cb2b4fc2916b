package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func peers() Experiment {
	return Experiment{
		Name: "peers", Title: "Beside the servers that people use",
		Seeds: []string{"000", "003", "004"},
		Claim: "nginx, and servers like it, are the fast ones: they wait for events, send files without copying and keep " +
			"connections.",
		Varied: "the server",
		Method: "Nothing is run: the samples in folders of results (--peers) are read, one file for each workload, as a " +
			"harness outside this program writes them. A server's processor time for a request is divided by that of nginx " +
			"in the same round; 1 is as much as nginx.",
		Takes: second, Quick: quickest, Full: minute, measure: measurePeers, judge: judgePeers,
	}
}

// peerSamples is what is read of a file of results: samples by role and server.
type peerSamples struct {
	Workload string                                     `json:"workload"`
	Date     string                                     `json:"date"`
	Samples  map[string]map[string][]map[string]float64 `json:"samples"`
}

// workloads is what was asked for, by the harness's names of workload and role.
var workloads = map[string]string{
	"w1 hello": "13 bytes", "w2 1k": "file of 1 KiB", "w2 64k": "file of 64 KiB", "w3 1g": "file of 1 GiB",
	"w4 proxy": "HTTP proxy", "w5 bulk": "TCP proxy, bulk", "w5 pingpong": "TCP proxy, ping-pong",
	"w6 idle0": "13 bytes, none idle", "w6 idle15000": "13 bytes, 15,000 idle", "w7 close": "a connection each",
}

const peersTable = "processor time"

func measurePeers(_ context.Context, s *Stand, r *Result) error {
	var files []string
	for _, folder := range filepath.SplitList(s.Peers) {
		found, err := filepath.Glob(filepath.Join(folder, "w*.json"))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		r.note("No folder with results was named (--peers), or there are none in it: nothing was compared.")
		return nil
	}
	t := r.table(peersTable, []string{"workload", "server"}, Column{"to nginx", "ratio"})
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
		p.addTo(t)
		r.note("%s is of %s.", filepath.Base(name), p.Date)
	}
	if len(t.Rows) == 0 {
		return fmt.Errorf("no figures were found in %s", s.Peers)
	}
	slices.SortFunc(t.Rows, func(a, b *Row) int { return slices.Compare(a.Key, b.Key) })
	drawn := ""
	for _, row := range t.Rows {
		if row.Key[0] != drawn {
			drawn = row.Key[0]
			r.draw(Figure{
				Title: drawn + ": processor time of a request, to nginx", Table: t.Name, Column: "to nginx", Over: "server",
				Names: true, Only: map[string]string{"workload": drawn},
			})
		}
	}
	return nil
}

// addTo adds each sample's processor time, divided by that of nginx in the same round.
func (p *peerSamples) addTo(t *Table) {
	for role, servers := range p.Samples {
		workload := p.Workload + " " + role
		if name, known := workloads[workload]; known {
			workload = name
		}
		reference := servers["nginx"]
		for server, samples := range servers {
			for i, one := range samples {
				if i < len(reference) && reference[i]["cpu_us"] > 0 && one["cpu_us"] > 0 {
					t.add([]string{workload, server}, one["cpu_us"]/reference[i]["cpu_us"])
				}
			}
		}
	}
}

func judgePeers(r *Result) Verdict {
	if len(r.Tables) == 0 {
		return Verdict{NotJudged, "No results of other servers were given."}
	}
	others, dearer := 0, 0
	var ours []string
	for _, row := range r.find(peersTable).Rows {
		ratio := row.Cells[0].Median
		switch row.Key[1] {
		case "nginx":
		case "myriad":
			ours = append(ours, fmt.Sprintf("%s %.2f", row.Key[0], ratio))
		default:
			if others++; ratio > 1 {
				dearer++
			}
		}
	}
	why := fmt.Sprintf("Of %d comparisons of other servers with nginx, %d took more processor time for a request than it.",
		others, dearer)
	if len(ours) > 0 {
		why += " Myriad, to nginx: " + strings.Join(ours, "; ") + "."
	}
	switch {
	case others == 0:
		return Verdict{NotJudged, why}
	case 4*dearer >= 3*others:
		return Verdict{Holds, why}
	case 4*dearer >= others:
		return Verdict{Partly, why}
	}
	return Verdict{NoLonger, why}
}
