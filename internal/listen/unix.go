package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// openUnix binds a socket to a name. A file is made with Mode at once: bind(2) gives it the mode of the unbound
// socket's inode, less the umask, so it is never more open than asked for, and what the umask took is given after.
func openUnix(s Spec) (*Socket, error) {
	raw, err := sys.EncodeUnix(s.Name)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", s, err)
	}
	path := s.Name[0] != '@'
	if path {
		if err := clearStale(s, raw); err != nil {
			return nil, err
		}
	}
	kind := sys.Datagram
	if s.stream() {
		kind = sys.Stream
	}
	fd, err := sys.Socket(sys.Unix, kind, true)
	if err != nil {
		return nil, explain(s, os.NewSyscallError("socket", err))
	}
	socket := &Socket{FD: fd, Spec: s}
	if s.stream() {
		socket.Warning = backlogWarning(s)
	}
	if err := bindUnix(socket, raw, path); err != nil {
		_ = socket.Close()
		return nil, explain(s, err)
	}
	return socket, nil
}

func bindUnix(socket *Socket, raw []byte, path bool) error {
	s, fd := socket.Spec, socket.FD
	if err := setOptions(fd, s, false, false); err != nil {
		return err
	}
	if path {
		mode := s.Mode
		if mode == 0 {
			mode = 0o666
		}
		if err := sys.ChangeMode(fd, uint32(mode.Perm())); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	if err := sys.Bind(fd, raw); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if path {
		made, err := os.Lstat(s.Name)
		if err != nil {
			return err
		}
		socket.file = made
		if s.Mode != 0 && made.Mode().Perm() != s.Mode.Perm() {
			if err := os.Chmod(s.Name, s.Mode.Perm()); err != nil {
				return err
			}
		}
	}
	if !s.stream() {
		widen(fd, s.SendBuffer)
		return nil
	}
	return os.NewSyscallError("listen", sys.Listen(fd, s.Backlog))
}

// unreadBytes is the send buffer of a datagram socket, where nothing else is asked for. What peers have not read yet
// stays in the buffer of whoever has sent it, and the kernel bounds that for each of them only if it has not connected:
// some that do not read would take all of the default's 208 KiB from the others.
const unreadBytes = 4 << 20

// widen sets the send buffer, beyond net.core.wmem_max if the process may (CAP_NET_ADMIN).
func widen(fd, size int) {
	if size == 0 {
		size = unreadBytes
	}
	o := sys.Option{Level: sys.LevelSocket, Name: sys.SendBufferForce, Value: size}
	if sys.SetOption(fd, o) != nil {
		o.Name = sys.SendBuffer
		_ = sys.SetOption(fd, o) // the kernel cuts it, and refuses nothing
	}
}

// clearStale removes the file of a socket that nobody listens on any more: its owner was killed. Two processes that do
// so at the same moment are told apart by bind(2), which refuses the second.
func clearStale(s Spec, raw []byte) error {
	found, err := os.Lstat(s.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s, err)
	}
	if found.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: there is a file of that name which is no socket; choose another, or remove it", s)
	}
	alive, err := answers(raw)
	if err != nil {
		return fmt.Errorf("listen on %s: who listens there cannot be found out: %w", s, err)
	}
	if alive {
		return fmt.Errorf("listen on %s: %w (another process listens there; stop it, or choose another name)",
			s, syscall.EADDRINUSE)
	}
	if now, err := os.Lstat(s.Name); err != nil || !sameFile(now, found) {
		return nil // somebody else was faster; bind decides
	}
	if err := os.Remove(s.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listen on %s: the file of a socket that nobody listens on cannot be removed: %w", s, err)
	}
	return nil
}

// answers tells whether somebody listens on a unix socket, by connecting to it.
func answers(raw []byte) (bool, error) {
	fd, err := sys.Socket(sys.Unix, sys.Stream, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = sys.Close(fd) }()
	err = sys.Connect(fd, raw)
	switch {
	case err == nil, errors.Is(err, syscall.EAGAIN): // EAGAIN: its backlog is full
		return true, nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return false, nil
	case errors.Is(err, syscall.EPROTOTYPE): // a datagram socket: alive
		return true, nil
	}
	return false, err
}
