package lasting

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// long skips a test that waits for limits of half a minute.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it waits for limits that are long on purpose")
	}
}

// brokenBinaries are new versions of the program that are none.
var brokenBinaries = []struct {
	name, text string
	mode       os.FileMode
	slow       bool // it fails by a limit of time
}{
	{name: "not executable", text: "#!/bin/sh\nexit 0\n", mode: 0o600},
	{name: "no program", text: "this is not a program\n", mode: 0o700},
	{name: "ends at once", text: "#!/bin/sh\nexit 1\n", mode: 0o700},
	{name: "never ready", text: "#!/bin/sh\nexec sleep 1000\n", mode: 0o700, slow: true},
}

// TestBrokenUpgrade has the only process go on in binaries that cannot: it serves on, and nobody notices.
func TestBrokenUpgrade(t *testing.T) {
	for _, b := range brokenBinaries {
		t.Run(b.name, func(t *testing.T) {
			if b.slow {
				long(t)
			}
			try(t, trial{name: "upgrade to what is " + b.name, times: 1, act: func(t testing.TB, s *stand, _ int) {
				before := s.server.Members()
				if err := os.WriteFile(s.server.path("broken"), []byte(b.text), b.mode); err != nil {
					t.Fatal(err)
				}
				out, err := s.server.attempt(t, "upgrade", "--binary", s.server.path("broken"))
				if err == nil {
					t.Errorf("the upgrade worked: %s", out)
				}
				await(t, func() bool { return slices.Equal(s.server.Members(), before) },
					func() string { return "the end of what was started" })
			}})
		})
	}
}

// TestBrokenUpgradeWorkers has a supervisor go on with binaries that cannot: the old workers serve on.
func TestBrokenUpgradeWorkers(t *testing.T) {
	for _, b := range brokenBinaries {
		t.Run(b.name, func(t *testing.T) {
			if b.slow {
				long(t)
			}
			try(t, trial{
				name: "upgrade to what is " + b.name, model: "reuseport", times: 1, lines: workersOf("reuseport", 2),
				act: func(t testing.TB, s *stand, _ int) {
					before := s.server.Members()
					s.server.replace(t, []byte(b.text), b.mode)
					s.server.signal(t, syscall.SIGUSR2, notRolled, 1)
					await(t, func() bool { return slices.Equal(s.server.Members(), before) },
						func() string { return "the end of what was started" })
				},
			})
		})
	}
}

// notRolled is what a supervisor says when a new binary is no good.
const notRolled = `msg="a command was not carried out" command=upgrade`

// replace has another file take the place of the program's, which goes on as it is.
func (s *server) replace(t testing.TB, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(s.binary+".new", text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.binary+".new", s.binary); err != nil {
		t.Fatal(err)
	}
}

// TestStoppedWorker stops a worker as a loop without an end would: it is found out, killed and replaced. Its clients
// wait until then, and are lost with it; nobody else notices.
func TestStoppedWorker(t *testing.T) {
	long(t)
	var dead []*victim
	try(t, trial{
		name: "stop of a worker", model: "reuseport", times: 1, lines: workersOf("reuseport", 2),
		act: func(t testing.TB, s *stand, _ int) {
			pid := s.server.workers()[0]
			ready, _ := s.server.Log.Count(isReady)
			apptest.Tell(syscall.SIGSTOP, pid)
			await(t, func() bool { return isStopped(pid) }, func() string { return "the stop of a worker" })
			dead = append(dead, examine(t, s, pid))
			s.server.Await(t, isReady, ready+1)
		},
		costs: func(_ *stand, l loss) bool {
			return slices.ContainsFunc(dead, func(v *victim) bool { return v.had(l) })
		},
		most: func() int { return dead[0].web },
	})
}

// TestSupervisorKilled kills the process above the workers. They end in good order, as nobody would start them anew:
// whoever asks is answered, and another server can have the addresses at once.
func TestSupervisorKilled(t *testing.T) {
	s := newStand(t, drivers()[0], workersOf("reuseport", 2))
	quiet, asking := mustDial(t, s.web), mustDial(t, s.web)
	quiet.send(t, request)
	quiet.answered(t)
	asking.send(t, request+request[:20]) // the worker has the second when it answers the first
	asking.answered(t)
	apptest.Tell(syscall.SIGKILL, s.server.Process.Pid)
	if _, err := quiet.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("an idle connection ended with %v", err)
	}
	asking.send(t, request[20:])
	asking.answered(t)
	if _, err := asking.r.ReadByte(); !errors.Is(err, io.EOF) { // it may have been answered before the worker knew
		t.Errorf("a connection ended with %v behind its answer", err)
	}
	again := apptest.Launch(t, t.TempDir(), "serve", "--config", s.server.path("myriad.yaml"), "--admin", "off")
	again.Await(t, "msg=serving", 1)
	await(t, s.server.Gone, func() string { return "the end of the workers\n" + s.server.Log.String() })
	after := mustDial(t, s.web)
	after.send(t, request)
	after.answered(t)
}

// A caller is a wire that fails its test.
type caller struct{ wire }

func mustDial(t *testing.T, address string) caller {
	t.Helper()
	w, err := dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.abandon)
	return caller{w}
}

func (c caller) send(t *testing.T, text string) {
	t.Helper()
	if err := c.wire.send(text); err != nil {
		t.Fatal(err)
	}
}

func (c caller) answered(t *testing.T) {
	t.Helper()
	if text := c.answer(t); !strings.HasPrefix(text, ownText) {
		t.Fatalf("%q was answered", text)
	}
}

// answer is the next one that comes.
func (c caller) answer(t *testing.T) string {
	t.Helper()
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q, %v", content, err)
	}
	return string(content)
}

// ask is send and answer.
func (c caller) ask(t *testing.T) string {
	t.Helper()
	c.send(t, request)
	return c.answer(t)
}

// TestTakenAddress starts a server whose address is taken: all of it ends, and says why.
func TestTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := apptest.Launch(t, t.TempDir(), "serve", "--admin", "off", "--respond", "x", "--listen", l.Addr().String(),
		"--set", "engine.processes=2")
	<-p.Ended
	if p.ExitCode() == 0 || !strings.Contains(p.Log.String(), "address already in use") {
		t.Errorf("it ended with %d and said:\n%s", p.ExitCode(), p.Log)
	}
	await(t, p.Gone, func() string { return "the end of the workers" })
}
