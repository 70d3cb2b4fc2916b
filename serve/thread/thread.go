// Package thread serves each connection on a thread of the operating system, which
// blocks: how servers were written before there were event loops. A connection costs a
// thread with its Go stack, some 20 KiB, and 16 KiB more in the kernel, and each turn of
// it costs the kernel a switch of threads.
package thread

import (
	"context"
	"fmt"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/myriad-server/myriad/serve"
)

const (
	name = "thread"
	// otherThreads are those of the runtime and of the rest of the program.
	otherThreads = 1000
	// keptThreads is how many threads without a connection stay with the runtime, for the next ones. The others end:
	// the runtime would keep them for ever.
	keptThreads = 64
)

type model struct{}

// New returns the model. Limits.Connections is the number of threads.
func New() serve.Model { return model{} }

func (model) Name() string   { return name }
func (model) Driver() string { return "blocking" }

func (model) Serve(ctx context.Context, s *serve.Site) error {
	b, err := serve.NewBlocking(s, name, serve.OnThread)
	if err != nil {
		return err
	}
	if err := allow(s.Limits.Connections); err != nil {
		return err
	}
	var serving sync.WaitGroup
	var threads atomic.Int64
	defer serving.Wait()
	return b.Run(ctx, func(a serve.Arrival) {
		threads.Add(1)
		serving.Go(func() {
			runtime.LockOSThread()
			b.Serve(a)
			if threads.Add(-1) < keptThreads {
				runtime.UnlockOSThread() // a thread whose goroutine ends locked ends with it
			}
		})
	})
}

// raising guards the runtime's limit, which is one for the process.
var raising sync.Mutex

// allow lets the runtime have so many threads. A thread that the kernel refuses ends the whole process, so what the
// kernel allows is looked at first.
func allow(threads int) error {
	threads += otherThreads
	for _, limit := range kernelLimits() {
		if threads > limit.most {
			return fmt.Errorf("serve/thread: Limits.Connections of %d may need %d threads, and %s allows %d; "+
				"lower the one or raise the other", threads-otherThreads, threads, limit.name, limit.most)
		}
	}
	raising.Lock()
	defer raising.Unlock()
	if before := debug.SetMaxThreads(threads); before > threads {
		debug.SetMaxThreads(before)
	}
	return nil
}

type kernelLimit struct {
	name string
	most int
}

// kernelLimits are the limits on threads that can be read; cgroup v2 has one for each group.
func kernelLimits() []kernelLimit {
	files := []string{"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"}
	if groups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		if _, group, ok := strings.Cut(strings.TrimSpace(string(groups)), "0::"); ok {
			for at := group; at != "/" && at != "."; at = path.Dir(at) {
				files = append(files, path.Join("/sys/fs/cgroup", at, "pids.max"))
			}
		}
	}
	var limits []kernelLimit
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if most, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			limits = append(limits, kernelLimit{file, most})
		}
	}
	return limits
}
