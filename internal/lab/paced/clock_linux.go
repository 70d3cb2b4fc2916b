package main

import (
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// processTime is the processor time that all threads of a process have used, those that ended included.
func processTime(pid int) (time.Duration, error) {
	return sys.ProcessTime(pid)
}

// pause sleeps in the kernel, on this thread: the runtime's timers are too coarse for gaps of 200 microseconds.
func pause(d time.Duration) { sys.Sleep(d) }
