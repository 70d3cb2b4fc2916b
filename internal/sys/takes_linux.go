package sys

import "golang.org/x/sys/unix"

// TakesBytes asks poll(2) whether a write to a descriptor would not block, be it that it failed. For a TCP socket the
// kernel says so when a third of the send buffer is free. What cannot be asked is writable.
func TakesBytes(fd int) bool {
	entries := [1]PollEntry{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := Poll(entries[:], 0)
	return n != 0 || err != nil
}
