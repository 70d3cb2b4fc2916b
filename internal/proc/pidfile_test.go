package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestPIDFile(t *testing.T) {
	leaksNothing(t)
	path := filepath.Join(t.TempDir(), "myriad.pid")
	p, err := OpenPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); string(text) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("it says %q, %v", text, err)
	}
	_, err = OpenPIDFile(path)
	var held *HeldError
	if !errors.As(err, &held) || held.PID != os.Getpid() || held.Name == "" || !strings.Contains(err.Error(), held.Name) {
		t.Errorf("the second got %v", err)
	}
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestPIDFileOfTheKilled takes over what a process has left that was killed, and not before.
func TestPIDFileOfTheKilled(t *testing.T) {
	leaksNothing(t)
	path := filepath.Join(t.TempDir(), "myriad.pid")
	if err := os.WriteFile(path, []byte("123456789012\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := command("pidfile")
	c.Env = append(c.Env, "PROC_TEST_FILE="+path)
	child := launch(t, c)
	if err := child.AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); string(text) != strconv.Itoa(child.PID())+"\n" {
		t.Errorf("it says %q, %v, and its process is %d", text, err, child.PID())
	}
	var held *HeldError
	if _, err := OpenPIDFile(path); !errors.As(err, &held) || held.PID != child.PID() {
		t.Errorf("while its process lives: %v", err)
	}
	if err := child.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, child)
	p, err := OpenPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.Stale != child.PID() {
		t.Errorf("the number that was left is %d, want %d", p.Stale, child.PID())
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
}

// TestPIDFileGoesToASuccessor hands the lock on: at no moment could a third have it.
func TestPIDFileGoesToASuccessor(t *testing.T) {
	leaksNothing(t)
	path := filepath.Join(t.TempDir(), "myriad.pid")
	first, err := OpenPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := first.Duplicate()
	if err != nil {
		t.Fatal(err)
	}
	second, err := AdoptPIDFile(path, fd)
	if err != nil {
		t.Fatal(err)
	}
	first.Leave()
	if _, err := OpenPIDFile(path); err == nil {
		t.Error("a third has it")
	}
	// Whoever replaced the file in the meantime has the name.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	third, err := OpenPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if fd, err = second.Duplicate(); err != nil {
		t.Fatal(err)
	}
	if p, err := AdoptPIDFile(path, fd); err == nil {
		t.Errorf("a file without the name was adopted: %v", p)
	}
	if err := second.Remove(); err != nil {
		t.Error(err)
	}
	if !third.current() {
		t.Error("the file of another was removed")
	}
	if err := third.Remove(); err != nil {
		t.Error(err)
	}
}

func TestPIDFileRefused(t *testing.T) {
	leaksNothing(t)
	folder := t.TempDir()
	if err := os.Symlink("/etc/passwd", folder+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("mkfifo", folder+"/fifo").Run(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, folder + "/link", folder + "/fifo", folder + "/none/myriad.pid"} {
		if p, err := OpenPIDFile(path); err == nil {
			p.Leave()
			t.Errorf("%s was taken", path)
		}
	}
}

// TestPIDFileRace has many open and remove the same file: one at a time has it.
func TestPIDFileRace(t *testing.T) {
	leaksNothing(t)
	path := filepath.Join(t.TempDir(), "myriad.pid")
	var all sync.WaitGroup
	var mu sync.Mutex
	holders, taken := 0, 0
	for range 8 {
		all.Go(func() {
			for range 200 {
				p, err := OpenPIDFile(path)
				var held *HeldError
				if errors.As(err, &held) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if holders++; holders > 1 {
					t.Error("two have it")
				}
				taken++
				mu.Unlock()
				mu.Lock()
				holders--
				mu.Unlock()
				if err := p.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if taken == 0 {
		t.Error("nobody had it")
	}
}
