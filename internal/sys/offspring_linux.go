package sys

import "syscall"

// EndWithStarter is what a command is given that is to get SIGTERM when the thread that starts it ends, however it
// ends: so nothing is left behind by a process that was killed. That thread must be locked to its goroutine. See
// PR_SET_PDEATHSIG in prctl(2).
func EndWithStarter() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
