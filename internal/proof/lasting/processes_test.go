package lasting

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/internal/app/apptest"
	"github.com/myriad-server/myriad/internal/config"
)

// workersOf is the configuration of worker processes under a process model.
func workersOf(model string, count int) string {
	return fmt.Sprintf("  processes: %d\n  process_model: %s\n", count, model)
}

// models are the process models whose workers are reached at the address that the configuration names.
func models() []string {
	if testing.Short() {
		return []string{string(config.ProcessReusePort)}
	}
	return slices.DeleteFunc(config.ProcessModel("").Values(), func(model string) bool { return model == "ports" })
}

// TestReloadWorkers has a supervisor take other configurations to its workers.
func TestReloadWorkers(t *testing.T) {
	for _, model := range models() {
		t.Run(model, func(t *testing.T) {
			try(t, trial{
				name: "reload", model: model, times: number(t, "RELOADS", 3), lines: workersOf(model, 2),
				act: func(t testing.TB, s *stand, time int) {
					s.server.configure(t, s.configuration(time))
					s.server.signal(t, syscall.SIGHUP, "msg=reloaded", 2) // each worker says so
				},
			})
		})
	}
}

// TestKill kills a worker without a warning: its connections are lost, nobody else's, and nobody is refused.
func TestKill(t *testing.T) {
	for _, model := range models() {
		t.Run(model, func(t *testing.T) {
			var dead []*victim
			try(t, trial{
				name: "kill -9 of a worker", model: model, times: number(t, "KILLS", 2), lines: workersOf(model, 2),
				act: func(t testing.TB, s *stand, time int) { dead = append(dead, kill(t, s, time)) },
				costs: func(_ *stand, l loss) bool {
					return slices.ContainsFunc(dead, func(v *victim) bool { return v.had(l) })
				},
				most: func() (n int) {
					for _, v := range dead {
						n += v.web
					}
					return n
				},
			})
		})
	}
}

// kill kills one of the workers and waits until there is another.
func kill(t testing.TB, s *stand, time int) *victim {
	t.Helper()
	workers := s.server.workers()
	pid := workers[time%len(workers)]
	apptest.Tell(syscall.SIGSTOP, pid)
	await(t, func() bool { return isStopped(pid) }, func() string { return "the stop of a worker" })
	v := examine(t, s, pid)
	ready, _ := s.server.Log.Count(isReady)
	apptest.Tell(syscall.SIGKILL, pid)
	s.server.Await(t, isReady, ready+1)
	return v
}

// What a supervisor says of its workers.
const (
	isReady  = `msg="worker is ready"`
	hasEnded = `msg="worker has ended"`
	rolled   = `msg="the new generation has taken over"`
)

// had tells whether a loss is that of one of the connections of a victim. A connection of which nothing is known but
// that it was lost is judged by their number.
func (v *victim) had(l loss) bool {
	if l.Port != 0 {
		return v.ports[l.Port]
	}
	return slices.Contains([]string{
		"reset by the server", "closed before an answer", "short answer", "connections closed by the server", "read", "write",
	}, l.Cause)
}
