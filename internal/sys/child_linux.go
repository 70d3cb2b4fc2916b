package sys

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ChildSpec says what Spawn is to run.
type ChildSpec struct {
	Path     string   // of the binary; it is not looked for in PATH
	Args     []string // all of them, the name of the program first
	Env      []string // the whole environment, as name=value
	Dir      string   // where it runs; empty: where its parent does
	Files    []int    // its descriptors 0, 1, 2 and so on; nothing else is inherited
	OwnGroup bool     // it leads a process group of its own, so signals of the terminal do not reach it
}

// Spawn is clone(2) with CLONE_PIDFD and execve(2). The pidfd is close-on-exec and non-blocking, and poll(2) tells of
// the child's end by it (pidfd_open(2)). Before Linux 5.4, which has no way to wait for it, ENOSYS is returned.
func Spawn(c ChildSpec) (pid, pidfd int, err error) {
	files := make([]uintptr, len(c.Files))
	for i, fd := range c.Files {
		files[i] = uintptr(fd)
	}
	pidfd = -1
	pid, err = syscall.ForkExec(c.Path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: c.OwnGroup, PidFD: &pidfd},
	})
	if err != nil {
		return 0, -1, err
	}
	if pidfd < 0 {
		err = unix.ENOSYS
	} else if err = unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
	}
	if err != nil {
		// The pid is still the child's own: nobody else reaps it.
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return 0, -1, err
	}
	return pid, pidfd, nil
}

// SignalProcess is pidfd_send_signal(2): the process that the pidfd was opened for gets the signal, or nobody (ESRCH).
func SignalProcess(pidfd int, signal syscall.Signal) error {
	return unix.PidfdSendSignal(pidfd, signal, nil, 0)
}

// ChildEnd is how a child ended, and what it has used.
type ChildEnd struct {
	Code              int            // of exit(2); -1: a signal ended it
	Signal            syscall.Signal // that ended it; 0: none
	Core              bool           // a core was written
	User, System      time.Duration  // processor time, as far as its own children are not concerned
	PeakResidentBytes int64          // the most memory that it had at once
}

// Reap is wait4(2) with WNOHANG for one child; ended is false while it runs.
func Reap(pid int) (end ChildEnd, ended bool, err error) {
	var status unix.WaitStatus
	var usage unix.Rusage
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, &usage)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == 0 {
			return end, false, err
		}
		break
	}
	const kibi = 1 << 10 // getrusage(2) counts ru_maxrss in kilobytes
	end = ChildEnd{
		Code: status.ExitStatus(), Core: status.CoreDump(), PeakResidentBytes: usage.Maxrss * kibi,
		User: time.Duration(usage.Utime.Nano()), System: time.Duration(usage.Stime.Nano()),
	}
	if status.Signaled() {
		end.Code, end.Signal = -1, status.Signal()
	}
	return end, true, nil
}

// SetCloseOnExec sets FD_CLOEXEC of a descriptor, and is how to find out whether it is open at all (EBADF).
func SetCloseOnExec(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	return err
}

// Duplicate is a copy of a descriptor, close-on-exec.
func Duplicate(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// LockWhole is flock(2) for the file that is open, exclusively and without waiting: EWOULDBLOCK when another has it.
// The lock is the open file's: it ends when the last copy of the descriptor is closed, also by a process that was
// killed.
func LockWhole(file *os.File) (err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	locked := raw.Control(func(fd uintptr) { err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	if locked != nil {
		return locked
	}
	return err
}

// Monotonic is CLOCK_MONOTONIC: how long the machine has been up, the same for all processes of it.
func Monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it fails for a clock that does not exist
	return time.Duration(t.Nano())
}

// OpenNoFollow is O_NOFOLLOW of open(2): a symbolic link is not followed, but ELOOP.
const OpenNoFollow = unix.O_NOFOLLOW

// SetAllCloseOnExec sets FD_CLOEXEC of all descriptors from a number on; see close_range(2). ENOSYS and EINVAL before
// Linux 5.11.
func SetAllCloseOnExec(from int) error {
	return unix.CloseRange(uint(from), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
}
