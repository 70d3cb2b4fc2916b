package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/internal/sys"
)

// What the machine must have. A pair of sockets was measured at 8.6 KiB of kernel memory; both ends are here.
const (
	pairBytes   = 9 << 10
	spareBytes  = 1 << 30
	descriptors = 20_000 // RLIMIT_NOFILE of the server and of this program
	settleSlack = 2_000  // sockets of others that may come and go while this program waits
)

// machine is what the kernel says about itself at one moment.
type machine struct {
	Available int64 `json:"available_bytes"`
	Free      int64 `json:"free_bytes"`
	Slab      int64 `json:"slab_bytes"`
	Sockets   int64 `json:"tcp_sockets"`
	Orphans   int64 `json:"tcp_orphans"`
	Waiting   int64 `json:"tcp_time_wait"`
	Pages     int64 `json:"tcp_memory_pages"`
	Files     int64 `json:"open_files"`
	FilesMost int64 `json:"open_files_limit"`
}

// field is the number behind a word.
func field(text []byte, word string) int64 {
	_, rest, _ := bytes.Cut(text, []byte(word))
	fields := bytes.Fields(rest[:min(len(rest), 64)])
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n
}

func examine() (m machine, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	m.Available, m.Free = field(text, "MemAvailable:")<<10, field(text, "MemFree:")<<10
	m.Slab = field(text, "Slab:") << 10
	if text, err = os.ReadFile("/proc/net/sockstat"); err != nil {
		return m, err
	}
	_, tcp, _ := bytes.Cut(text, []byte("TCP:"))
	m.Sockets, m.Orphans = field(tcp, "inuse"), field(tcp, "orphan")
	m.Waiting, m.Pages = field(tcp, "tw"), field(tcp, "mem")
	if text, err = os.ReadFile("/proc/sys/fs/file-nr"); err != nil {
		return m, err
	}
	var unused int64
	_, err = fmt.Sscan(string(text), &m.Files, &unused, &m.FilesMost)
	return m, err
}

// enough tells what is missing for n connections with both ends on this machine.
func (m machine) enough(n int) error {
	need := int64(n)*pairBytes + spareBytes
	if m.Available < need {
		return fmt.Errorf("%d connections need some %s of memory, most of it the kernel's, and %s are available: "+
			"try -n %d", n, size(need), size(m.Available), max(0, (m.Available-spareBytes)/pairBytes/1000*1000))
	}
	if left := m.FilesMost - m.Files; left < 2*int64(n)+2*descriptors {
		return fmt.Errorf("%d connections have two ends, and the system may open %d more files: raise fs.file-max",
			n, left)
	}
	return nil
}

// waited is how long the threads of a process were ready to run and did not, because others had their processor: the
// second number of /proc/PID/task/TID/schedstat. It tells a busy machine from a slow server.
func waited(pid int) (total time.Duration) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0
	}
	for _, entry := range list {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, entry.Name()))
		if fields := bytes.Fields(text); err == nil && len(fields) == 3 {
			n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			total += time.Duration(n)
		}
	}
	return total
}

// describe names the machine, for whoever reads the figures.
func describe(processors []int) string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		if _, name, ok := strings.Cut(line, ":"); ok {
			model = strings.TrimSpace(name)
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	text, _ := os.ReadFile("/proc/meminfo")
	return fmt.Sprintf("%d x %s, %s of memory, Linux %s",
		len(processors), model, size(field(text, "MemTotal:")<<10), strings.TrimSpace(string(release)))
}

// settled waits until the kernel has let go of the sockets of a run, and returns what it has then.
func settled(ctx context.Context, begin machine, within time.Duration) (m machine, err error) {
	deadline := time.Now().Add(within)
	for {
		if m, err = examine(); err != nil {
			return m, err
		}
		if m.Sockets <= begin.Sockets+settleSlack && m.Orphans <= begin.Orphans+settleSlack {
			return m, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return m, fmt.Errorf("%d TCP sockets and %d orphans are left, from %d and %d at the start",
				m.Sockets, m.Orphans, begin.Sockets, begin.Orphans)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * pollEvery):
		}
	}
}

// divide gives the servers a processor, and this program another where there are two.
func divide() (servers, own []int, err error) {
	all, err := sys.Affinity(0)
	if err != nil || len(all) < 2 {
		return all, all, err
	}
	return all[:1], all[len(all)-1:], nil
}

// bind binds every thread of this program; later ones inherit it.
func bind(processors []int) error {
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, entry := range list {
		thread, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if err := sys.SetAffinity(thread, processors...); err != nil {
			return err
		}
	}
	return nil
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20 || n <= -10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
