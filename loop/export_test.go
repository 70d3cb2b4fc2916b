package loop

import "github.com/myriad-server/myriad/conn"

// Dials is the dialer of a loop that need not run yet.
func (l *Loop) Dials() conn.Dialer { return l.dials }
