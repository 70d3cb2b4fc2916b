package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/doctor"
)

// busyReading is what a server with everything has told.
func busyReading() *reading {
	r := &reading{where: "unix:/run/a.sock", rates: map[string]float64{"7": 2048}}
	r.status.Version, r.status.PID, r.status.Model, r.status.Driver = "1.2.3", 42, "reactor", "uring"
	r.status.Capacity.Connections, r.status.Capacity.Wall = 200, "descriptors"
	r.figures = control.Figures{
		Open: 170, Accepted: 3.5, Requests: 1234, Responses: map[string]float64{"5xx": 12},
		Latency: control.Latency{Count: 9, P50: 80, P99: 1500, P999: 2.5e6},
		Process: control.Process{Descriptors: 19_990, DescriptorLimit: 20_000, ResidentBytes: 30 << 20},
	}
	for i := range 20 {
		r.figures.Loops = append(r.figures.Loops, control.Loop{Loop: i, Busy: float64(i) / 19, Open: int64(i)})
	}
	for i := range 9 {
		r.pools = append(r.pools, app.PoolStatus{Upstream: "app", Endpoint: "10.0.0.7:80", Open: i, Waiting: 3})
	}
	r.page.States = map[string]int{"idle": 160, "active": 10}
	for i := range 100 {
		r.page.Connections = append(r.page.Connections, control.Connection{
			ID: string(rune('0' + i%10)), State: "idle", Peer: "192.0.2.1:5000", ReceivedBytes: 1 << 20,
			Protocol: "http\x1b[2J", TCP: &control.TCP{RTT: 250},
		})
	}
	r.report = &doctor.Report{Findings: []doctor.Finding{
		{Harm: doctor.Outage, Title: "the accept queue overflows"}, {Harm: doctor.Info, Title: "worth knowing"},
	}}
	return r
}

// TestTopText says everything as text, once, without anything that a terminal might act on.
func TestTopText(t *testing.T) {
	text := busyReading().text(plainScreen("bytes"))
	for _, want := range []string{
		"myriad 1.2.3  process 42", "170 of 200 (first wall: descriptors): 10 active, 160 idle", "1234 requests", "12 5xx",
		"p50 80µs  p99 1.5ms  p99.9 2.5s", "19990 of 20000", "and 12 more loops", "and 3 more pools",
		"outage       the accept queue overflows", "BYTES/S*", "192.0.2.1:5000", "2048", "http?[2J",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Contains(text, "worth knowing") {
		t.Errorf("it says too much:\n%s", text)
	}
}

// TestTopTraffic tells of what went through since the look before: how much of what the pools gave had been used, and
// how many sessions began.
func TestTopTraffic(t *testing.T) {
	look := func(seconds float64, acquired, reused, sessions uint64) *reading {
		r := busyReading()
		status := fmt.Sprintf(`{"uptime_seconds": %f,
			"upstreams": [{"name": "app", "counts": {"acquired": %d, "reused": %d},
				"endpoints": [{"address": "10.0.0.7:80", "state": "ejected"}]}],
			"streams": [{"listener": "udp://127.0.0.1:53", "counts": {"sessions": %d, "sessions_open": 7,
				"sessions_refused": 5, "sessions_unreached": 4, "datagrams_lost": 3}}]}`, seconds, acquired, reused, sessions)
		if err := json.Unmarshal([]byte(status), &r.status); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := look(10, 1000, 10, 100)
	for _, test := range []struct {
		before, next *reading
		pool, udp    string
	}{
		{new(reading), first, "app 1.0 % 3 10.0.0.7:80 ejected", "udp://127.0.0.1:53 7 - 100 5 4 3"},
		{first, look(12, 1200, 160, 150), "app 75.0 % 3 10.0.0.7:80 ejected", "udp://127.0.0.1:53 7 25 150 5 4 3"},
		{first, look(12, 1000, 10, 100), "app 1.0 % 3 10.0.0.7:80 ejected", "udp://127.0.0.1:53 7 0 100 5 4 3"},
		{new(reading), look(1, 0, 0, 0), "app - 3 10.0.0.7:80 ejected", "udp://127.0.0.1:53 7 - 0 5 4 3"},
	} {
		test.next.upstreams, test.next.sessions = traffics(test.before, test.next)
		var words []string
		for line := range strings.Lines(test.next.text(plainScreen("bytes"))) {
			words = append(words, strings.Join(strings.Fields(line), " "))
		}
		text := strings.Join(words, "\n")
		if !strings.Contains(text, test.pool) || !strings.Contains(text, test.udp) {
			t.Errorf("it does not say %q and %q:\n%s", test.pool, test.udp, text)
		}
	}
}

// TestTopColumns sets figures below each other at the right.
func TestTopColumns(t *testing.T) {
	got := strings.Join(grid([]column{{"NAME", false}, {"N", true}}, [][]string{{"é", "1"}, {"longer", "1000"}}), "\n")
	if want := "NAME       N\né          1\nlonger  1000"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTopFits draws into every size of a terminal, with room for some connections wherever there is any.
func TestTopFits(t *testing.T) {
	r := busyReading()
	r.problem = errors.New("the server does not answer")
	for _, size := range [][2]int{{200, 60}, {80, 24}, {40, 10}, {20, 5}, {3, 2}, {1, 1}} {
		v := view{sort: "rtt", width: size[0], height: size[1], colour: true, paused: true}
		lines := strings.Split(r.text(v), "\n")
		if len(lines) > size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		connections := 0
		for _, line := range lines {
			if w := lipgloss.Width(line); w > size[0] {
				t.Errorf("%v: a line of %d columns: %q", size, w, line)
			}
			if strings.HasPrefix(line, "idle") {
				connections++
			}
		}
		if size[1] >= 10 && connections < 2 {
			t.Errorf("%v: %d connections:\n%s", size, connections, strings.Join(lines, "\n"))
		}
		v.help = true
		if n := strings.Count(r.text(v), "\n"); n >= size[1] {
			t.Errorf("%v: %d lines of help", size, n+1)
		}
	}
}

// TestTopKeys sorts, reverses, pauses, explains and quits.
func TestTopKeys(t *testing.T) {
	s := newScreen(t.Context(), nil, topCommand{Sort: "bytes", Every: time.Hour}, busyReading())
	press := func(r rune, text string) tea.Cmd {
		_, command := s.Update(tea.KeyPressMsg{Code: r, Text: text})
		return command
	}
	for _, test := range []struct {
		key, sort string
		reverse   bool
	}{{"t", "rtt", false}, {"r", "rtt", true}, {"r", "rtt", false}, {"n", "requests", false}, {"s", "queued", false}} {
		if press(rune(test.key[0]), test.key); s.view.sort != test.sort || s.view.reverse != test.reverse {
			t.Errorf("after %s: by %s, reversed %t", test.key, s.view.sort, s.view.reverse)
		}
	}
	press(tea.KeySpace, " ")
	if _, command := s.Update(due{}); !s.paused || command == nil {
		t.Error("space does not pause")
	}
	press('?', "?")
	s.Update(tea.WindowSizeMsg{Width: 60, Height: 30})
	if text := s.View().Content; !strings.Contains(text, "sort by") || !s.View().AltScreen {
		t.Errorf("it does not explain itself: %s", text)
	}
	if command := press('q', "q"); command == nil || command() != (tea.QuitMsg{}) {
		t.Error("q does not quit")
	}
}

// TestTopProgram runs as in a terminal: it draws, keeps what it knew when the server does not answer, and quits.
func TestTopProgram(t *testing.T) {
	client, err := control.Dial("unix:" + t.TempDir() + "/none.sock")
	if err != nil {
		t.Fatal(err)
	}
	keys, press := io.Pipe()
	defer func() { _ = press.Close() }()
	var out bytes.Buffer
	s := newScreen(t.Context(), client, topCommand{Sort: "bytes", Every: time.Hour}, busyReading())
	told := make(chan struct{})
	program := tea.NewProgram(s, tea.WithContext(t.Context()), tea.WithInput(keys), tea.WithOutput(&out),
		tea.WithWindowSize(120, 40), tea.WithoutSignals(), tea.WithFilter(func(_ tea.Model, m tea.Msg) tea.Msg {
			if l, ok := m.(looked); ok && l.seen.problem != nil {
				close(told)
			}
			return m
		}))
	done := make(chan error, 1)
	go func() { _, err := program.Run(); done <- err }()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("it does not look")
	}
	if _, err := io.WriteString(press, "q"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not quit")
	}
	text := s.seen.text(plainScreen("bytes"))
	if !strings.Contains(text, "old figures") || !strings.Contains(text, "170 of 200") {
		t.Errorf("it does not say that it knows nothing new:\n%s", text)
	}
	if !strings.Contains(out.String(), "process 42") {
		t.Errorf("nothing was drawn: %q", out.String())
	}
}
