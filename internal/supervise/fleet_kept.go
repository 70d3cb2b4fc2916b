package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/sys"
)

// keptFormat is the version of Kept. It changes when what is there already changes its meaning.
const keptFormat = 1

// Kept is a fleet at rest, as it is written down for the program that goes on with it in the same process: the workers
// notice nothing. Descriptors are numbers of the process.
type Kept struct {
	Format     int            `json:"format"`
	Name       string         `json:"name"` // of the configuration that is served
	Text       []byte         `json:"text"`
	Work       uint64         `json:"work"` // its version
	Generation uint64         `json:"generation"`
	Workers    int            `json:"workers"`
	Seats      int            `json:"seats"`
	Restarts   map[int]int    `json:"restarts,omitempty"`
	Sockets    []app.KeptSet  `json:"sockets"`
	Board      int            `json:"board"`
	Supervisor KeptSupervisor `json:"supervisor"`
	Links      []KeptLink     `json:"links"`
	// Extra is what whoever runs the fleet adds, and ExtraFDs are descriptors of it.
	Extra    map[string]string `json:"extra,omitempty"`
	ExtraFDs map[string]int    `json:"extra_fds,omitempty"`
}

// KeptLink is how far the talk with a worker has come.
type KeptLink struct {
	Worker ID     `json:"worker"`
	Work   uint64 `json:"work"` // the version that it has
	Last   uint64 `json:"last"` // order
	// More and Awaits are about the sockets of seats; see link.
	More   map[int]bool `json:"more,omitempty"`
	Awaits map[int]ID   `json:"awaits,omitempty"`
}

// Descriptors are all that go over to the next program.
func (k *Kept) Descriptors() (all []int) {
	all = append(all, k.Board)
	for i := range k.Sockets {
		all = append(all, k.Sockets[i].Descriptors()...)
	}
	for _, of := range k.Supervisor.Children {
		all = append(all, of.Child.Descriptors()...)
	}
	for _, fd := range k.ExtraFDs {
		all = append(all, fd)
	}
	return all
}

// Seal writes it into memory that nobody can cut; what is read from the file is the document.
func (k *Kept) Seal() (*os.File, error) {
	text, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	fd, err := sys.SharedMemory("myriad-kept", len(text))
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "kept")
	if _, err := file.WriteAt(text, 0); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// ReadKept reads and checks what Seal has written. The descriptor stays the caller's. An error says why this program
// cannot go on with it; nothing was touched then.
func ReadKept(fd int) (*Kept, error) {
	const most = 64 << 20
	size, sealed, err := sys.SharedSize(fd)
	if err != nil {
		return nil, err
	}
	if !sealed || size > most {
		return nil, fmt.Errorf("%d bytes (sealed: %t) are not what a supervisor leaves", size, sealed)
	}
	file, err := os.Open(fmt.Sprint("/proc/self/fd/", fd)) // with an offset of its own
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	k := &Kept{}
	if err := json.NewDecoder(file).Decode(k); err != nil {
		return nil, fmt.Errorf("what the supervisor before has left cannot be read: %w", err)
	}
	if k.Format != keptFormat {
		return nil, &proc.VersionError{What: "state", Theirs: uint32(k.Format), Ours: keptFormat}
	}
	if k.Supervisor.Machine == nil || len(k.Links) > len(k.Supervisor.Children) {
		return nil, errors.New("what the supervisor before has left is not whole")
	}
	return k, nil
}

// Preview is what Leave would write down of what does not change all the time: for another program to look at.
func (f *Fleet) Preview() *Kept {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Kept{
		Format: keptFormat, Name: f.work.Name, Text: f.work.Text, Work: f.work.version, Generation: f.generation,
		Workers: f.workers, Seats: f.work.sockets.Seats(), Restarts: maps.Clone(f.restarts), Sockets: f.work.sockets.Keep(),
		Board: f.board.FD(), Supervisor: KeptSupervisor{Machine: &KeptMachine{}},
	}
}

// Quiet tells whether Leave could succeed now; ErrBusy: something is under way.
func (f *Fleet) Quiet() (err error) {
	if !f.changes.TryLock() {
		return ErrBusy
	}
	defer f.changes.Unlock()
	return either(f.call(context.Background(), func() {
		if _, err = f.Supervisor.keep(); err == nil {
			var free func()
			free, err = f.still()
			free()
		}
	}), &err)
}

// Leave calls goOn with the fleet at rest, on the goroutine that all decisions wait for. goOn puts another program in
// the place of this one, in this process, and returns only if it cannot; quiet is for it to call when signals are held
// back. ErrBusy: something is under way, and goOn was not called or not heard. Whatever the error, all goes on.
func (f *Fleet) Leave(goOn func(k *Kept, quiet func() error) error) (err error) {
	if !f.changes.TryLock() {
		return ErrBusy
	}
	defer f.changes.Unlock()
	return either(f.call(context.Background(), func() { err = f.leave(goOn) }), &err)
}

func (f *Fleet) leave(goOn func(k *Kept, quiet func() error) error) error {
	if _, err := f.Supervisor.keep(); err != nil {
		return err
	}
	free, err := f.still()
	defer free()
	if err != nil {
		return err
	}
	// The kernel keeps who comes from now on in its backlogs.
	f.closeFronts(orderTime)
	kept := f.Preview()
	if kept.Supervisor, err = f.Supervisor.keep(); err == nil {
		f.mu.Lock()
		for _, l := range f.links {
			kept.Links = append(kept.Links, KeptLink{
				Worker: l.place.Worker, Work: l.version, Last: l.last, More: maps.Clone(l.more),
				Awaits: maps.Clone(l.awaits),
			})
		}
		f.mu.Unlock()
		err = goOn(kept, f.quiet)
	}
	err = errors.Join(err, f.openFronts())
	f.admitAll()
	return err
}

// still has no order be given until free is called. ErrBusy when a worker has not answered yet.
func (f *Fleet) still() (free func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var held []*link
	for _, l := range f.links {
		l.mu.Lock()
		held = append(held, l)
		if len(l.waiting) > 0 {
			err = ErrBusy
		}
	}
	return func() {
		for _, l := range held {
			l.mu.Unlock()
		}
	}, err
}

// admitAll has all workers that serve be given connections, when the fronts are open again.
func (f *Fleet) admitAll() {
	for _, l := range f.serving() {
		go f.admit(l)
	}
}

// goOn takes over what was left.
func (f *Fleet) goOn(k *Kept, o Options) (err error) {
	for _, fd := range k.Descriptors() {
		if err := sys.SetCloseOnExec(fd); err != nil {
			return fmt.Errorf("descriptor %d was not left: %w", fd, err)
		}
	}
	f.generation, f.workers, f.restarts = k.Generation, k.Workers, k.Restarts
	f.proven, f.served, f.ready = true, true, k.Workers
	if f.restarts == nil {
		f.restarts = map[int]int{}
	}
	f.work = task{Source: f.options.Source, version: k.Work, launch: o.Launch}
	if f.work.sockets, err = app.KeptSockets(f.work.Plan, k.Seats, k.Sockets); err != nil {
		return err
	}
	if f.board, err = proc.OpenBoard(k.Board); err != nil {
		return err
	}
	o.Board, o.Kept = f.board, &k.Supervisor
	o.Policy.Slots = f.board.Slots()
	o.Policy.MostWorkers = (o.Policy.Slots - o.Policy.Surge) / 2
	if f.Supervisor, err = New(o); err != nil {
		return err
	}
	for _, of := range k.Links {
		w := f.machine.find(of.Worker)
		if w == nil {
			continue // it has ended, and this is told
		}
		place := Place{Worker: w.id, Slot: w.slot, Seat: w.seat, Generation: w.generation}
		l := newLink(place, f.children[w.id], of.Work)
		l.last, l.serves = of.Last, w.phase == Serving
		maps.Copy(l.more, of.More)
		maps.Copy(l.awaits, of.Awaits)
		f.links[w.id] = l
		go f.listen(l)
		if l.serves && l.version < k.Work && w.generation == f.generation {
			go f.catchUp(l)
		}
	}
	err = f.openFronts()
	f.admitAll()
	return err
}
