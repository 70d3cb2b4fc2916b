package lasting

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/myriad-server/myriad/internal/app/apptest"
)

// TestUpgrade has a new process take over from the only one: its sockets, and its connections as they are.
func TestUpgrade(t *testing.T) {
	try(t, trial{
		name: "upgrade", times: number(t, "UPGRADES", 2),
		act: func(t testing.TB, s *stand, time int) {
			old := s.server.Members()
			if time%2 == 0 {
				s.server.command(t, "upgrade")
			} else {
				apptest.Tell(syscall.SIGUSR2, old...)
			}
			s.server.replaced(t, old)
		},
	})
}

// sessionMoves tells whether a loss is that a client of UDP goes on in another session, with no datagram lost: the
// kernel sends it to another socket.
func sessionMoves(_ *stand, l loss) bool {
	return l.Kind == "UDP session" && l.Cause == errMoved.Error()
}

// replaced waits until processes have ended and others are there.
func (s *server) replaced(t testing.TB, old []int) {
	t.Helper()
	await(t, func() bool {
		now := s.Members()
		return len(now) > 0 && !slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(now, pid) })
	}, func() string { return fmt.Sprintf("the end of %v\n%s", old, s.Log) })
}

// TestScale has one worker become four, and one again. The kernel spreads datagrams over the sockets that there are by
// a hash, so the first time a session of UDP may go on at another worker, as another session; no datagram is lost.
func TestScale(t *testing.T) {
	for _, model := range models() {
		t.Run(model, func(t *testing.T) {
			try(t, trial{
				name: "scale 1..4..1", model: model, times: number(t, "SCALES", 1), lines: workersOf(model, 1),
				costs: sessionMoves,
				act: func(t testing.TB, s *stand, _ int) {
					for range 3 {
						s.server.signal(t, syscall.SIGTTIN, isReady, 1)
						s.stepped()
					}
					for range 3 {
						s.server.signal(t, syscall.SIGTTOU, hasEnded, 1)
						s.stepped()
					}
				},
			})
		})
	}
}

// TestUpgradeWorkers has a supervisor replace its workers by those of the binary that is there now.
func TestUpgradeWorkers(t *testing.T) {
	for _, model := range models() {
		t.Run(model, func(t *testing.T) {
			try(t, trial{
				name: "upgrade", model: model, times: number(t, "UPGRADES", 1), lines: workersOf(model, 2),
				act: func(t testing.TB, s *stand, _ int) {
					old := s.server.workers()
					s.server.signal(t, syscall.SIGUSR2, rolled, 1)
					await(t, func() bool {
						return !slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(s.server.workers(), pid) })
					}, func() string { return fmt.Sprintf("the end of the old workers\n%s", s.server.Log) })
				},
			})
		})
	}
}
