package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/control"
	"github.com/myriad-server/myriad/internal/doctor"
)

// topCommand shows what a running server does, again and again.
type topCommand struct {
	Admin string        `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	Sort  string        `default:"bytes" placeholder:"KEY" help:"A key of myriad conns --sort."`
	Every time.Duration `default:"1s" help:"The time between two looks."`
	Once  bool          `help:"Print it once, as text: what a terminal that can do nothing gets as well."`
}

const (
	// onceRows are the connections that are printed where there is no screen to be filled, topRows those that are asked
	// for at most.
	onceRows, topRows = 20, 200
	// doctorEvery is the time between two examinations of the host: each takes a second.
	doctorEvery = time.Minute
	// onceDoctor is how long the doctor is waited for where everything is printed once.
	onceDoctor = 5 * time.Second
)

// Run looks at a running server until it is told to end.
func (k topCommand) Run(c console) error {
	switch {
	case k.Every < 100*time.Millisecond:
		return usage(fmt.Errorf("--every %s is too often; 100ms at least", k.Every))
	case !slices.Contains(control.Orders(), k.Sort):
		return usage(fmt.Errorf("--sort %s: there are %s", k.Sort, strings.Join(control.Orders(), ", ")))
	}
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	seen := &reading{where: client.Where}
	if err := seen.look(ctx, client, k.Sort, "", onceRows); err != nil {
		return err
	}
	if k.Once || !isTerminal(c.out) || os.Getenv("TERM") == "dumb" {
		if seen.figures.Seconds < control.Seconds(time.Second/2) { // it has only just begun to count
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			err = seen.look(ctx, client, k.Sort, "", onceRows)
		}
		short, cancel := context.WithTimeout(ctx, onceDoctor)
		seen.examine(short, client)
		cancel()
		if err == nil {
			_, err = io.WriteString(c.out, seen.text(plainScreen(k.Sort)))
		}
		return err
	}
	_, err = tea.NewProgram(newScreen(ctx, client, k, seen), tea.WithContext(ctx), tea.WithOutput(c.out)).Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}

// reading is what the server has told, at one time.
type reading struct {
	where   string
	status  control.Status
	figures control.Figures
	page    control.List
	pools   []app.PoolStatus
	report  *doctor.Report
	rates   map[string]float64 // bytes a second of listed connections, by ID
	problem error              // why there is nothing newer

	upstreams, sessions map[string]traffic // by the name of an upstream, and of a listener
}

// look asks for everything but the doctor.
func (r *reading) look(ctx context.Context, client *control.Client, sort, order string, rows int) error {
	var next reading
	ask := func(path string, query url.Values, v any) error {
		_, err := client.Ask(ctx, "GET", path, query, v)
		return err
	}
	query := url.Values{"sort": {sort}, "limit": {strconv.Itoa(rows)}}
	if order != "" {
		query.Set("order", order)
	}
	var pools struct {
		Pools []app.PoolStatus `json:"pools"`
	}
	for _, err := range []error{
		ask("/v1/status", nil, &next.status), ask("/v1/loops", nil, &next.figures), ask("/v1/conns", query, &next.page),
		ask("/v1/pools", nil, &pools),
	} {
		if err != nil {
			return err
		}
	}
	next.where, next.pools, next.report, next.rates = r.where, pools.Pools, r.report, map[string]float64{}
	before := map[string]uint64{}
	for i := range r.page.Connections {
		before[r.page.Connections[i].ID] = moved(&r.page.Connections[i])
	}
	passed := next.page.Now.Sub(r.page.Now).Seconds()
	for i := range next.page.Connections {
		o := &next.page.Connections[i]
		if was, known := before[o.ID]; known && passed > 0 {
			next.rates[o.ID] = float64(moved(o)-was) / passed
		}
	}
	next.upstreams, next.sessions = traffics(r, &next)
	*r = next
	return nil
}

func moved(c *control.Connection) uint64 { return c.ReceivedBytes + c.SentBytes }

// examine asks the doctor. A server without one, or with one that takes too long, has none to show.
func (r *reading) examine(ctx context.Context, client *control.Client) {
	report := new(doctor.Report)
	if _, err := client.Ask(ctx, "GET", "/v1/doctor", nil, report); err == nil {
		r.report = report
	}
}

// screen is the terminal: what is known, and how it is looked at. It is changed by Update alone.
type screen struct {
	ctx           context.Context
	client        *control.Client
	every         time.Duration
	seen          *reading
	view          view
	width, height int
	paused        bool
}

func newScreen(ctx context.Context, client *control.Client, k topCommand, seen *reading) *screen {
	return &screen{
		ctx: ctx, client: client, every: k.Every, seen: seen, view: view{sort: k.Sort, colour: true}, width: 80, height: 24,
	}
}

// What comes to Update besides keys: a new reading, a report, and that it is time for another.
type (
	looked   struct{ seen *reading }
	examined struct{ seen *reading }
	due      struct{}
	ailing   struct{}
)

// Init begins to look.
func (s *screen) Init() tea.Cmd { return tea.Batch(s.look(), s.examine()) }

// look asks beside the screen, so that keys work meanwhile.
func (s *screen) look() tea.Cmd {
	next, sort, order := *s.seen, s.view.sort, ""
	if s.view.reverse {
		order = reversed(sort)
	}
	return func() tea.Msg {
		next.problem = next.look(s.ctx, s.client, sort, order, topRows)
		return looked{&next}
	}
}

func (s *screen) examine() tea.Cmd {
	var next reading
	return func() tea.Msg {
		next.examine(s.ctx, s.client)
		return examined{&next}
	}
}

// reversed is the order that a key to sort by does not have by itself.
func reversed(sort string) string {
	if sort == "id" {
		return "desc"
	}
	return "asc"
}

// Update takes what has come.
func (s *screen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch m := message.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case tea.KeyPressMsg:
		command := s.press(m.String())
		return s, command
	case looked:
		m.seen.report = s.seen.report
		s.seen = m.seen
		return s, tea.Tick(s.every, func(time.Time) tea.Msg { return due{} })
	case examined:
		if m.seen.report != nil {
			s.seen.report = m.seen.report
		}
		return s, tea.Tick(doctorEvery, func(time.Time) tea.Msg { return ailing{} })
	case due:
		if s.paused {
			return s, tea.Tick(s.every, func(time.Time) tea.Msg { return due{} })
		}
		command := s.look()
		return s, command
	case ailing:
		command := s.examine()
		return s, command
	}
	return s, nil
}

// sortKeys are the keys that choose what to sort by.
var sortKeys = map[string]string{
	"a": "age", "d": "idle", "i": "in", "o": "out", "b": "bytes", "n": "requests", "u": "queued", "t": "rtt",
	"x": "retransmits",
}

func (s *screen) press(key string) tea.Cmd {
	if sort := sortKeys[key]; sort != "" {
		s.view.sort, s.view.reverse = sort, false
		return nil
	}
	all := control.Orders()
	switch key {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "s":
		s.view.sort, s.view.reverse = all[(slices.Index(all, s.view.sort)+1)%len(all)], false
	case "r":
		s.view.reverse = !s.view.reverse
	case "space":
		s.paused = !s.paused
	case "?", "h":
		s.view.help = !s.view.help
	}
	return nil
}

// View draws the screen.
func (s *screen) View() tea.View {
	s.view.width, s.view.height, s.view.paused = s.width, s.height, s.paused
	drawn := tea.NewView(s.seen.text(s.view))
	drawn.AltScreen = true
	drawn.WindowTitle = "myriad top"
	return drawn
}
