package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/myriad-server/myriad/internal/sys"
)

// HeldError says that another process has the pid file.
type HeldError struct {
	Path string
	PID  int    // of the holder; 0: the file does not say
	Name string // of the holder's program; empty: it cannot be found out
}

// Error names the holder and the mend.
func (e *HeldError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
		if e.Name != "" {
			holder = fmt.Sprintf("%s (process %d)", e.Name, e.PID)
		}
	}
	return fmt.Sprintf("pid file %s: %s holds it; stop that one, or name another file", e.Path, holder)
}

// PIDFile is a file with the number of this process, locked for as long as the process lives (flock(2)). The lock, not
// the number, tells whether its writer is alive: a file that a killed process has left is taken over.
type PIDFile struct {
	path string
	file *os.File
	// Stale is the number that a process left which has ended without removing it; 0: there was none.
	Stale int
}

// OpenPIDFile makes or takes over a pid file. *HeldError when a living process has it.
func OpenPIDFile(path string) (*PIDFile, error) {
	path, err := filepath.Abs(path) // the process may change its folder before it ends
	if err != nil {
		return nil, err
	}
	const tries = 100 // a file can be removed between its opening and its locking, each time by another who ends
	for range tries {
		p, err := openPIDFile(path)
		if p != nil || err != nil {
			return p, err
		}
	}
	return nil, fmt.Errorf("pid file %s: it is being made and removed by others all the time", path)
}

func openPIDFile(path string) (*PIDFile, error) {
	const plain = 0o644
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|sys.OpenNonBlock|sys.OpenNoFollow, plain)
	if err != nil {
		return nil, fmt.Errorf("pid file: %w", err)
	}
	p := &PIDFile{path: path, file: file}
	err = p.take()
	if err != nil {
		_ = file.Close()
		if errors.Is(err, errReplaced) {
			return nil, nil
		}
		return nil, err
	}
	return p, nil
}

var errReplaced = errors.New("the file was replaced")

func (p *PIDFile) take() error {
	about, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	if !about.Mode().IsRegular() {
		return fmt.Errorf("pid file %s: there is something of that name which is no file", p.path)
	}
	if err := sys.LockWhole(p.file); errors.Is(err, syscall.EWOULDBLOCK) {
		held := &HeldError{Path: p.path, PID: p.read()}
		if held.PID != 0 {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", held.PID)) // it may have ended just now
			held.Name = strings.TrimSpace(string(name))
		}
		return held
	} else if err != nil {
		return fmt.Errorf("pid file %s: %w", p.path, os.NewSyscallError("flock", err))
	}
	if !p.current() {
		return errReplaced
	}
	p.Stale = p.read()
	return p.write()
}

// current tells whether the file that is locked still has the name.
func (p *PIDFile) current() bool {
	open, err := p.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(p.path)
	return err == nil && os.SameFile(open, named)
}

// read is the number in the file; 0: there is none.
func (p *PIDFile) read() int {
	text := make([]byte, 32)
	n, err := p.file.ReadAt(text, 0)
	if err != nil && err != io.EOF {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

func (p *PIDFile) write() error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	_, err := p.file.WriteAt([]byte(text), 0)
	if err == nil {
		err = p.file.Truncate(int64(len(text))) // after it: at no moment is the file empty
	}
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}

// AdoptPIDFile is the pid file of a predecessor that has sent its descriptor, which belongs to the result from then on.
// The lock comes with it, and the number becomes that of this process.
func AdoptPIDFile(path string, fd int) (*PIDFile, error) {
	p := &PIDFile{path: path, file: os.NewFile(uintptr(fd), path)}
	err := sys.LockWhole(p.file) // the lock is the open file's, so this is no other one
	if err == nil && !p.current() {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = p.write()
	}
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("pid file %s of the predecessor: %w", path, err)
	}
	return p, nil
}

// IsPIDFile tells whether a descriptor is that of the file at the path.
func IsPIDFile(path string, fd int) bool {
	open, err := os.Stat(own(fd))
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// own is where this process sees a file that it has open.
func own(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// RemovePIDFile removes the pid file of a predecessor that has sent its descriptor, and lets go of it.
func RemovePIDFile(fd int) error {
	path, err := os.Readlink(own(fd))
	p := &PIDFile{path: path, file: os.NewFile(uintptr(fd), path)}
	if err != nil {
		p.Leave()
		return fmt.Errorf("pid file of the predecessor: %w", err)
	}
	return p.Remove()
}

// Duplicate is a copy of the descriptor for a successor. The lock lasts for as long as one of the copies is open.
func (p *PIDFile) Duplicate() (fd int, err error) {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return -1, err
	}
	if held := raw.Control(func(own uintptr) { fd, err = sys.Duplicate(int(own)) }); held != nil {
		return -1, held
	}
	return fd, err
}

// Leave lets go of the file and leaves it to a successor that has adopted it.
func (p *PIDFile) Leave() { _ = p.file.Close() }

// Remove removes the file, unless another has its name by now, and lets go of it.
func (p *PIDFile) Remove() error {
	defer p.Leave()
	if !p.current() {
		return nil
	}
	// Nobody else makes a file of that name between the two: they wait for the lock, and try again when it is gone.
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
