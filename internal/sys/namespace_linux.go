package sys

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OwnNetwork is what a command is given that is to run in a network namespace of its own, see unshare(2): with a
// loopback that is down, and sysctls of net at their defaults. What it mounts is seen by it alone. It needs
// CAP_SYS_ADMIN. Like EndWithStarter it does not outlive the thread that starts it.
func OwnNetwork() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
}

// EnterNetwork moves the calling thread, which its goroutine must be locked to, into the network namespace that a file
// stands for (/proc/PID/ns/net, see setns(2)). It needs CAP_SYS_ADMIN.
func EnterNetwork(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return os.NewSyscallError("setns", unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
}
