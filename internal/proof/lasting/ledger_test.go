package lasting

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// A loss is something that a client was to have and did not get.
type loss struct {
	Kind   string `json:"kind"`
	Cause  string `json:"cause"`
	During string `json:"during"`         // what was being done to the server
	Port   int    `json:"port,omitempty"` // the client's; 0 where it never had a connection
}

// A ledger is all losses of one stand.
type ledger struct {
	mu     sync.Mutex
	during string
	losses []loss
}

// now says what is being done to the server from now on.
func (l *ledger) now(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.during = what
}

// lose writes a loss down.
func (l *ledger) lose(one loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.During = l.during
	l.losses = append(l.losses, one)
}

// all are the losses by now.
func (l *ledger) all() []loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.losses)
}

// String is all losses, those of a kind and a cause together.
func (l *ledger) String() string {
	count := map[string]int{}
	for _, one := range l.all() {
		count[fmt.Sprintf("%s, %s, during %s", one.Kind, one.Cause, one.During)]++
	}
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&text, "lost %d: %s\n", count[what], what)
	}
	return text.String()
}

// rows are those of the table: one for each trial and driver.
var rows []row

// A row is what became of the clients of one trial.
type row struct {
	What    string  `json:"what"`
	Model   string  `json:"process_model,omitempty"` // empty: it is one process
	Times   int     `json:"times"`
	Driver  string  `json:"driver"`
	Seconds float64 `json:"seconds"`
	Uses    []use   `json:"clients"`
}

// A use is what became of the clients of one kind.
type use struct {
	Kind        string         `json:"kind"`
	Clients     int            `json:"clients"`
	Connections int64          `json:"connections"`
	Answers     int64          `json:"answers"`
	Lost        map[string]int `json:"lost"` // by cause
}

// row sums up what the clients of a stand have seen.
func (s *stand) row(tr trial, took time.Duration) row {
	r := row{What: tr.name, Model: tr.model, Times: tr.times, Driver: s.driver, Seconds: took.Seconds()}
	for _, c := range s.crowds {
		r.Uses = append(r.Uses, use{c.name, c.clients, c.made, c.good.Load(), c.lost})
	}
	for _, c := range s.clients {
		last := len(r.Uses) - 1
		if r.Uses[last].Kind != c.kind.name {
			r.Uses = append(r.Uses, use{Kind: c.kind.name, Lost: map[string]int{}})
			last++
		}
		r.Uses[last].Clients++
		r.Uses[last].Connections += c.made.Load()
		r.Uses[last].Answers += c.exchanges.Load()
	}
	for _, one := range s.ledger.all() {
		for _, u := range r.Uses {
			if u.Kind == one.Kind {
				u.Lost[one.Cause]++
			}
		}
	}
	return r
}

// judge fails the test for each loss that was promised not to be.
func (s *stand) judge(tr trial) {
	s.t.Helper()
	all := 0
	for _, c := range s.crowds {
		for cause, n := range c.lost {
			all += n
			if tr.costs == nil || !tr.costs(s, loss{Kind: c.name, Cause: cause}) {
				s.t.Errorf("lost: %d times %s of %s", n, cause, c.name)
			}
		}
		if c.good.Load() == 0 {
			s.t.Errorf("%s was never answered", c.name)
		}
	}
	if tr.most != nil && all > tr.most() {
		s.t.Errorf("the generators lost %d times, and %d of their connections were ended", all, tr.most())
	}
	shown := 0
	for _, one := range s.ledger.all() {
		if tr.costs != nil && tr.costs(s, one) {
			continue
		}
		if shown++; shown <= 20 {
			s.t.Errorf("lost: %+v", one)
		}
	}
	if s.t.Failed() {
		s.t.Logf("%s%s", s.ledger, s.server.Log)
	}
}

// table is the rows for people.
func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\tprocesses\ttimes\tdriver\tseconds\tclients\tof\tconnections\tanswers\tlost\tcauses")
	for _, r := range rows {
		for _, u := range r.Uses {
			lost, causes := 0, []string{}
			for _, cause := range slices.Sorted(maps.Keys(u.Lost)) {
				lost += u.Lost[cause]
				causes = append(causes, fmt.Sprintf("%d %s", u.Lost[cause], cause))
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%.1f\t", r.What, cmp.Or(r.Model, "one"), r.Times, r.Driver, r.Seconds)
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", u.Kind, u.Clients, u.Connections, u.Answers, lost,
				strings.Join(causes, ", "))
		}
	}
	_ = w.Flush()
	return text.String()
}

// inJSON is the rows for programs.
func inJSON(rows []row) []byte {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		panic(err) // there is nothing in a row that JSON does not have
	}
	return append(text, '\n')
}
