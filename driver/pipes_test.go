package driver_test

import (
	"errors"
	"testing"

	"github.com/myriad-server/myriad/driver"
)

// ends is a system with so many descriptors.
type ends struct {
	open map[int]bool
	next int
	room int
}

func (s *ends) pipe() (read, write int, err error) {
	if len(s.open)+2 > s.room {
		return 0, 0, errors.New("no descriptors")
	}
	s.next += 2
	s.open[s.next], s.open[s.next+1] = true, true
	return s.next, s.next + 1, nil
}

func (s *ends) close(fd int) error {
	if !s.open[fd] {
		return errors.New("closed twice")
	}
	delete(s.open, fd)
	return nil
}

// check compares what a pool says with what is open.
func (s *ends) check(t *testing.T, p *driver.Pipes, lent, idle int) {
	t.Helper()
	if p.Lent() != lent || p.Idle() != idle || len(s.open) != 2*(lent+idle) {
		t.Fatalf("%d lent, %d idle, %d ends open; want %d and %d", p.Lent(), p.Idle(), len(s.open), lent, idle)
	}
}

func TestPipes(t *testing.T) {
	s := &ends{open: map[int]bool{}, room: 100}
	p := driver.NewPipes(2, s.pipe, s.close)
	a, b := p.Take(), p.Take()
	if p.Take() != nil {
		t.Fatal("more pipes than the limit")
	}
	s.check(t, p, 2, 0)
	a.Release()
	if c := p.Take(); c != a {
		t.Fatal("an idle pipe is not used again")
	}
	a.Bytes = 1
	a.Release()
	s.check(t, p, 1, 0) // it held a byte
	if c := p.Take(); c == nil || c.Bytes != 0 {
		t.Fatalf("a new pipe: %+v", c)
	} else {
		c.Release()
	}
	b.Release()
	s.check(t, p, 0, 2)
	p.Trim() // both were used
	s.check(t, p, 0, 2)
	p.Take().Release()
	if left := p.Trim(); left != 1 {
		t.Fatalf("%d pipes left; one was needed", left)
	}
	s.check(t, p, 0, 1)
	p.Trim()
	s.check(t, p, 0, 0)
	a, b = p.Take(), p.Take()
	a.Release()
	p.Shed()
	s.check(t, p, 1, 0)
	p.Close()
	if p.Take() != nil {
		t.Fatal("a closed pool lends")
	}
	b.Release()
	s.check(t, p, 0, 0)
}

func TestPipesWithoutDescriptors(t *testing.T) {
	s := &ends{open: map[int]bool{}, room: 2}
	p := driver.NewPipes(10, s.pipe, s.close)
	a := p.Take()
	if a == nil || p.Take() != nil {
		t.Fatal("there is room for one")
	}
	s.check(t, p, 1, 0)
	a.Release()
	s.check(t, p, 0, 1)
	if (*driver.Pipes)(nil).Take() != nil {
		t.Fatal("no pool lends a pipe")
	}
	(*driver.Pipes)(nil).Shed()
}
