package sys

import "golang.org/x/sys/unix"

// Affinity is the processors that a thread may run on, sched_getaffinity(2); 0 is the calling thread.
func Affinity(thread int) (processors []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(thread, &set); err != nil {
		return nil, err
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			processors = append(processors, i)
		}
	}
	return processors, nil
}

// SetAffinity binds a thread to processors, sched_setaffinity(2); 0 is the calling thread. Threads and processes that
// it starts later inherit the binding.
func SetAffinity(thread int, processors ...int) error {
	var set unix.CPUSet
	for _, p := range processors {
		set.Set(p)
	}
	return unix.SchedSetaffinity(thread, &set)
}
