// Package lasting shows that connections outlive what is done to the server that holds them: it is reloaded, upgraded,
// scaled, and its workers are killed, while clients of every kind are at work, and whatever any of them misses is
// counted by its cause.
//
// The server is the real program with a configuration file. Its clients are: the generator of this project, with
// connections that stay and with one for each request, and through a proxy; wrk; connections that are idle all the time
// and are asked at the end; requests of which half has been sent; WebSockets and TCP tunnels that count what they
// carry; sessions of UDP.
//
// The environment makes the tests as long as they have to be to prove something, which takes half an hour:
//
//	DRIVER=epoll   one driver alone
//	RELOADS=100    UPGRADES=20    KILLS=20    SCALES=10    how often each is done
//	IDLE=10000     idle connections, WEBSOCKETS=1000, TUNNELS=1000, SESSIONS=200 of the others
//	OUT=FOLDER     where lasting.txt and lasting.json go, the table of what was lost
package lasting

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// patience is how long anything may take that is going to happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	apptest.Clean()
	if folder := os.Getenv("OUT"); folder != "" && code == 0 {
		if err := write(folder, rows); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// number is what the environment says, or what is enough to see whether a change has broken something.
var number = apptest.Number

// drivers are those that lasting is promised for: one that is told to try again, and one that completes.
func drivers() []string {
	if name := os.Getenv("DRIVER"); name != "" {
		return []string{name}
	}
	if testing.Short() {
		return []string{"epoll"}
	}
	return []string{"epoll", "uring"}
}

// A trial is one thing that is done to a server, again and again, under load.
type trial struct {
	name  string
	model string // of its processes; empty: it is one
	times int
	lines string // of the configuration, beside what all trials have
	// act does it once and returns when it is done.
	act func(t testing.TB, s *stand, time int)
	// costs tells whether a loss is one that nobody promised to prevent; nil: there is none.
	costs func(s *stand, l loss) bool
	// most is how many losses of generators, which know no ports, there may be with costs.
	most func() int
}

// try carries a trial out with every driver.
func try(t *testing.T, tr trial) {
	for _, driver := range drivers() {
		t.Run(driver, func(t *testing.T) {
			s := newStand(t, driver, tr.lines)
			s.begin()
			began := time.Now()
			for i := range tr.times {
				s.ledger.now(fmt.Sprintf("%s %d", tr.name, i+1))
				tr.act(t, s, i)
				s.stepped()
				if s.server.Gone() {
					t.Fatalf("the server has died:\n%s", s.server.Log)
				}
			}
			took := time.Since(began)
			s.ledger.now("the end")
			s.finish()
			r := s.row(tr, took)
			rows = append(rows, r)
			t.Logf("\n%s", table([]row{r}))
			s.judge(tr)
		})
	}
}

// TestReload changes the configuration: a route that answers, a listener that comes and goes, endpoints of another
// upstream. Nobody whose listener stays may miss anything.
func TestReload(t *testing.T) {
	try(t, trial{name: "reload", times: number(t, "RELOADS", 3), act: func(t testing.TB, s *stand, time int) {
		s.server.configure(t, s.configuration(time))
		if time%2 == 0 {
			s.server.command(t, "reload")
		} else {
			s.server.signal(t, syscall.SIGHUP, "msg=reloaded", 1)
		}
	}})
}

// write writes the table as text and as JSON.
func write(folder string, rows []row) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "lasting.txt"), []byte(table(rows)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "lasting.json"), inJSON(rows), 0o644)
}
