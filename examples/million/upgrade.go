package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// moved is what the server said of its upgrade, and what it cost.
type moved struct {
	Moved     int64          `json:"moved"`
	Left      int64          `json:"left"`
	Refusals  map[string]int `json:"refusals"`
	PID       int            `json:"new_pid"`
	TookMS    float64        `json:"took_ms"`
	PauseP50  float64        `json:"pause_p50_ms"`
	PauseP99  float64        `json:"pause_p99_ms"`
	PauseMost float64        `json:"pause_max_ms"`
	Took      time.Duration  `json:"took_with_start_nanoseconds"`
}

// upgrade has the server go on in a new process, and waits for the end of the old one.
func (s *server) upgrade(ctx context.Context) (*moved, error) {
	command := exec.CommandContext(ctx, s.command.Path, "upgrade", "--admin", "unix:"+s.config+".sock", "--json")
	began := time.Now()
	text, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w\n%s\n%s", err, text, s.lines())
	}
	m := &moved{Took: time.Since(began)}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("upgrade: %w: %s", err, text)
	}
	if s.next, err = os.FindProcess(m.PID); err != nil {
		return nil, err
	}
	s.client.CloseIdleConnections()
	select {
	case err := <-s.ended:
		s.ended <- err
		return m, err
	case <-time.After(stopWithin):
		return nil, fmt.Errorf("the old process has not ended\n%s", s.lines())
	}
}

// gone waits for the end of the process that has gone on. It is no child of this one, so how it ended is not known: it
// says so in its log.
func (s *server) gone(within time.Duration) bool {
	for deadline := time.Now().Add(within); s.next.Signal(syscall.Signal(0)) == nil; time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
