package sys

import "golang.org/x/sys/unix"

// Replace makes descriptor number refer to what fd refers to, close-on-exec, and closes what it referred to (dup3(2)).
func Replace(number, fd int) error { return unix.Dup3(fd, number, unix.O_CLOEXEC) }
