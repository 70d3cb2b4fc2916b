package doctor

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// planned is a host with everything that a plan asks for.
func planned() map[string]string {
	return map[string]string{
		"proc/meminfo":                              "MemTotal: 33554432 kB\nMemAvailable: 8388608 kB\n",
		"proc/7/cgroup":                             "0::/\n",
		"sys/fs/cgroup/x":                           "",
		"proc/7/limits":                             "Limit Soft Hard Units\nMax open files  1024  20000  files\n",
		"proc/net/sockstat":                         "TCP: inuse 10 orphan 0 tw 0 alloc 10 mem 1\n",
		"proc/7/net/sockstat":                       "TCP: inuse 10 orphan 0 tw 0 alloc 10 mem 1\n",
		"proc/sys/net/ipv4/tcp_mem":                 "90000 120000 180000",
		"proc/sys/fs/nr_open":                       "1048576",
		"proc/sys/fs/file-nr":                       "5000 1000 2000000",
		"proc/sys/net/core/somaxconn":               "4096",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":     "1024",
		"proc/sys/net/ipv4/tcp_syncookies":          "0",
		"proc/sys/net/ipv4/tcp_keepalive_time":      "7200",
		"proc/sys/net/ipv4/ip_local_port_range":     "32768 60999",
		"proc/sys/net/ipv4/ip_local_reserved_ports": "",
		"proc/sys/net/netfilter/nf_conntrack_count": "144",
		"proc/sys/net/netfilter/nf_conntrack_max":   "262144",
	}
}

func TestPlan(t *testing.T) {
	h := fakeHost(t, planned())
	h.PID = 7
	p := PlanFor(h, Load{Connections: 1000000, Destinations: 4})
	holds := map[string][2]int64{}
	for _, r := range p.Resources {
		holds[r.Name] = [2]int64{r.Holds, r.Proxied}
		short := r.Holds < 1000000 || r.Proxied < 1000000
		if short != (r.Fix != "") {
			t.Errorf("%s: holds %d, proxied %d, fix %q", r.Name, r.Holds, r.Proxied, r.Fix)
		}
		if r.Why == "" || r.Unit == "" || r.Need <= 0 {
			t.Errorf("%+v", r)
		}
	}
	connection := int64(kernelConnectionBytes + serverConnectionBytes + busyBytes/busyOneIn)
	want := map[string][2]int64{
		"memory":                {(8<<30 - serverBytes) / connection, (8<<30 - serverBytes) / (2 * connection)},
		"TCP buffers":           {120000 * pageBytes / 655, 120000 * pageBytes / 655 / 2},
		"descriptors":           {20000 - serverOwn, (20000 - serverOwn) / 2},
		"ceiling of a process":  {1<<20 - serverOwn, (1<<20 - serverOwn) / 2},
		"files of the host":     {2000000 - 4000, (2000000 - 4000) / 2},
		"accept queue":          {409600, 409600},
		"half-open connections": {102400, 102400},
		"connection tracking":   {262000, 131000},
		"ports to dial from":    {Unlimited, 4 * 28232},
	}
	if diff := cmp.Diff(want, holds); diff != "" {
		t.Error(diff)
	}
	if p.First != "descriptors" || p.FirstProxied != "descriptors" || len(p.Notes) > 0 {
		t.Errorf("first %q, of a proxy %q, notes %v", p.First, p.FirstProxied, p.Notes)
	}
	settings := map[string]string{}
	for _, s := range p.Settings() {
		settings[s.Key] = s.Want
	}
	for key, want := range map[string]string{
		"LimitNOFILE": "2000064", "net.core.somaxconn": "16384", "fs.nr_open": "2097152", portRange: "10000 65535",
		conntrackMost: "2097152",
	} {
		if settings[key] != want {
			t.Errorf("%s is to be %q, not %q", key, settings[key], want)
		}
	}
}

// What a plan sets is enough for what it was made for.
func TestPlanHoldsAfterItsSettings(t *testing.T) {
	files := planned()
	h := fakeHost(t, files)
	h.PID = 7
	load := Load{Connections: 700000, Destinations: 20}
	for _, s := range PlanFor(h, load).Settings() {
		if s.Key == "LimitNOFILE" {
			files["proc/7/limits"] = "Max open files " + s.Want + " " + s.Want + " files\n"
			continue
		}
		name := "proc/sys/" + strings.ReplaceAll(s.Key, ".", "/")
		if files[name] == "" && s.Key != "fs.file-max" {
			t.Fatalf("%s was never read", s.Key)
		}
		files[name] = s.Want
		if s.Key == "fs.file-max" {
			files["proc/sys/fs/file-nr"] = "5000 1000 " + s.Want
		}
	}
	h = fakeHost(t, files)
	h.PID = 7
	after := PlanFor(h, load)
	if settings := after.Settings(); len(settings) > 0 {
		t.Errorf("still to be set: %v", settings)
	}
}

func TestPlanCountsLimitsOfControlGroups(t *testing.T) {
	files := planned()
	files["proc/7/cgroup"] = "0::/web.service\n"
	files["sys/fs/cgroup/web.service/memory.max"] = "1073741824\n"
	files["sys/fs/cgroup/web.service/memory.current"] = "536870912\n"
	h := fakeHost(t, files)
	h.PID = 7
	for _, r := range PlanFor(h, Load{Connections: 200000}).Resources {
		if r.Name == "memory" && (r.Have != 512<<20 || !strings.Contains(r.Why, "web.service") || r.Fix == "") {
			t.Errorf("%+v", r)
		}
	}
}

func TestPlanWithoutControlGroups(t *testing.T) {
	files := planned()
	delete(files, "proc/7/cgroup")
	h := fakeHost(t, files)
	h.PID = 7
	for _, r := range PlanFor(h, Load{Connections: 1000}).Resources {
		if r.Name == "memory" {
			if r.Have != 8<<30 || !strings.Contains(r.Why, "could not be read") {
				t.Errorf("%+v", r)
			}
			return
		}
	}
	t.Error("no memory")
}

func TestPlanMeasuresBuffersWhereItCan(t *testing.T) {
	files := planned()
	files["proc/7/net/sockstat"] = "TCP: inuse 2000 orphan 0 tw 0 alloc 10 mem 4000\n"
	h := fakeHost(t, files)
	h.PID = 7
	for _, r := range PlanFor(h, Load{Connections: 1000}).Resources {
		if r.Name == "TCP buffers" && r.Need != 1000*8192 {
			t.Errorf("%+v", r)
		}
	}
}

func TestPlanOfNothingIsNotes(t *testing.T) {
	h := fakeHost(t, nil)
	h.PID = 7
	p := PlanFor(h, Load{Connections: 1000})
	if len(p.Resources) > 0 || len(p.Notes) != 9 {
		t.Errorf("%+v", p)
	}
}

func TestPlanOfThisHost(t *testing.T) {
	p := PlanFor(This(0), Load{Connections: 100000})
	if len(p.Resources) < 7 || len(p.Notes) > 0 {
		t.Errorf("%d resources, notes %v", len(p.Resources), p.Notes)
	}
	var text, object strings.Builder
	if err := p.Text(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		n := utf8.RuneCountInString(strings.TrimRight(line, "\n"))
		if n > Columns && !strings.HasPrefix(line, "  fix  ") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(text.String(), "For 100,000 connections") || !strings.Contains(text.String(), "First wall: ") {
		t.Error(text.String())
	}
	if err := p.JSON(&object); err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal([]byte(object.String()), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, &back); diff != "" {
		t.Error(diff)
	}
}

func TestConnectionsOfText(t *testing.T) {
	for text, want := range map[string]int{
		"1": 1, "20000": 20000, "100k": 100000, "1M": 1000000, " 2.5m ": 2500000, "1K": 1000,
		"": 0, "k": 0, "0": 0, "-1k": 0, "1G": 0, "2000M": 0, "NaN": 0, "0.1": 0,
	} {
		got, err := Connections(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
}
