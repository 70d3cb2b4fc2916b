package loop

import "github.com/myriad-server/myriad/conn"

// Dials is the dialer of a loop that need not run yet.
func (l *Loop) Dials() conn.Dialer { return l.dials }

// Recorded is how many connections have events.
func Recorded(l *Loop) int {
	if l.recorder == nil {
		return 0
	}
	return len(l.recorder.rings) - len(l.recorder.free)
}
