package supervise

import (
	"log/slog"
	"strconv"
	"time"
)

// ID is the number of a worker. None is used twice in the life of a supervisor.
type ID uint64

// Phase is how far a worker has come. It only moves forward.
type Phase uint8

// The phases.
const (
	Starting    Phase = iota // it has not said that it is ready
	Serving                  // it has
	Draining                 // it was told to take no more and to end when nobody is left
	Terminating              // it got SIGTERM
	Killed                   // it got SIGKILL
)

// String is the phase's name.
func (p Phase) String() string {
	return name(int(p), "starting", "serving", "draining", "terminating", "killed")
}

// Cause is why a worker goes, or went.
type Cause uint8

// The causes. The last four are deaths that nobody asked for.
const (
	None       Cause = iota // it does not go
	ScaledDown              // there was one too many
	Replaced                // one of a newer generation has taken its place
	RolledBack              // its generation has failed
	Stopped                 // everything ends
	Crashed                 // it died by itself
	NotStarted              // it could not be started at all
	NotReady                // it was not ready in time, or said that it cannot be
	Hung                    // a loop of it stood still
)

// String is the cause's name.
func (c Cause) String() string {
	return name(int(c), "none", "scaled down", "replaced", "rolled back", "stopped", "crashed", "not started", "not ready",
		"hung")
}

// Kind is what an Event tells of.
type Kind uint8

// The kinds.
const (
	WorkerStarting  Kind = iota // a process was started
	WorkerReady                 // it is ready
	WorkerSettled               // it has been ready for a while
	WorkerAsked                 // a loop of it stands still, and it was asked
	WorkerRecovered             // it had stood still, and goes on
	WorkerLeaving               // it goes, by the cause
	WorkerKilled                // it was killed, by the cause
	WorkerDied                  // its process has ended
	CrashLoop                   // workers die as fast as they are started: from now on one is tried at a time
	CrashLoopOver               // one of them has settled
	StartsHeld                  // there were too many starts
	Scaled                      // the number of workers was changed
	RollBegan                   // a new generation takes over
	RollDone                    // it has
	RollFailed                  // a worker of it has failed: the old one comes back
	RollUndone                  // it has come back
	StopBegan                   // no worker is started any more
	AllStopped                  // the last has ended
)

// String is the kind as the message of a log.
func (k Kind) String() string {
	return name(int(k), "worker starts", "worker is ready", "worker has settled", "worker is asked whether it hangs",
		"worker goes on", "worker leaves", "worker is killed", "worker has ended", "workers are in a crash loop",
		"the crash loop is over", "too many starts: the next one waits", "the number of workers was changed",
		"a new generation takes over", "the new generation has taken over",
		"the new generation has failed and is rolled back", "the old generation is back", "stopping", "stopped")
}

func name(i int, names ...string) string {
	if i < len(names) {
		return names[i]
	}
	return strconv.Itoa(i)
}

// Event is something that operators want to know. What does not belong to its kind is zero.
type Event struct {
	At         time.Time
	Kind       Kind
	Worker     ID
	Slot       int
	Seat       int
	PID        int
	Generation uint64
	Cause      Cause
	Text       string        // how a process ended, why a generation failed
	Wait       time.Duration // until the next start
	Workers    int           // how many there are to be
	Open       uint64        // connections that the worker had when it ended
	Heir       ID            // who takes over what one has that leaves; 0: nobody
}

// Level is how loud the event is.
func (e Event) Level() slog.Level {
	switch e.Kind {
	case CrashLoop, RollFailed:
		return slog.LevelError
	case WorkerAsked, WorkerKilled, StartsHeld:
		return slog.LevelWarn
	case WorkerDied:
		if e.Cause >= Crashed {
			return slog.LevelWarn
		}
	case WorkerSettled:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// Attributes are those of the event for a log.
func (e Event) Attributes() (list []slog.Attr) {
	if e.Worker != 0 {
		list = append(list, slog.Uint64("worker", uint64(e.Worker)), slog.Int("slot", e.Slot))
	}
	if e.PID != 0 {
		list = append(list, slog.Int("pid", e.PID))
	}
	if e.Generation != 0 {
		list = append(list, slog.Uint64("generation", e.Generation))
	}
	if e.Cause != None {
		list = append(list, slog.String("cause", e.Cause.String()))
	}
	if e.Text != "" {
		list = append(list, slog.String("why", e.Text))
	}
	if e.Wait != 0 {
		list = append(list, slog.Duration("next_start_in", e.Wait))
	}
	if e.Workers != 0 {
		list = append(list, slog.Int("workers", e.Workers))
	}
	if e.Open != 0 {
		list = append(list, slog.Uint64("connections_lost", e.Open))
	}
	return list
}
