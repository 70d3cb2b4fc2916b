package app

import (
	"math"
	"os"

	"github.com/myriad-server/myriad/internal/sys"
)

// Process is what the server as a process takes: descriptors that are open, their limit, and memory. What cannot be
// found out is 0, also a limit that is none. It costs three system calls; a kernel before Linux 6.2 has it read the
// list of descriptors.
func (a *App) Process() (descriptors, limit, residentBytes int64) {
	const list = "/proc/self/fd"
	if about, err := os.Stat(list); err == nil {
		descriptors = about.Size()
	}
	if descriptors == 0 {
		names, err := os.ReadDir(list)
		if err == nil {
			descriptors = int64(len(names))
		}
	}
	if soft, _, err := sys.Limit(sys.LimitDescriptors); err == nil {
		limit = bounded(soft)
	}
	if limit == math.MaxInt64 {
		limit = 0
	}
	return descriptors, limit, resident()
}
