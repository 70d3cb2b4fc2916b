package bus

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	"github.com/myriad-server/myriad/internal/sys"
)

// letterMost is how long a letter may be.
const letterMost = 64 << 10

// Seal writes a value, as JSON, into a file in memory that children inherit by its descriptor: the token of a server is
// in no argument, no environment and no file of the disk then. One file does for any number of children.
func Seal(v any) (*os.File, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	if len(text) > letterMost {
		return nil, fmt.Errorf("bus: %d bytes are to be inherited, of at most %d", len(text), letterMost)
	}
	fd, err := sys.SharedMemory("myriad-letter", len(text))
	if err != nil {
		return nil, fmt.Errorf("bus: %w", os.NewSyscallError("memfd_create", err))
	}
	f := os.NewFile(uintptr(fd), "letter")
	if _, err = f.WriteAt(text, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("bus: %w", err)
	}
	return f, nil
}

// Unseal reads what Seal has written from an inherited descriptor, and closes that.
func Unseal(fd int, v any) error {
	f := os.NewFile(uintptr(fd), "letter")
	defer func() { _ = f.Close() }() // it was read only
	size, sealed, err := sys.SharedSize(fd)
	if err == nil && (!sealed || size > letterMost) {
		err = fmt.Errorf("%d bytes, sealed: %t", size, sealed)
	}
	if err == nil {
		text := make([]byte, size)
		if _, err = f.ReadAt(text, 0); err == nil {
			err = json.Unmarshal(text, v) // which takes a copy of what it keeps
		}
	}
	if err != nil {
		return fmt.Errorf("bus: descriptor %d is no letter: %w", fd, err)
	}
	return nil
}

// Reservation keeps a port for a server that may be restarted, so that nobody else gets it, and the token of the
// clients with it, in between.
type Reservation struct {
	fd int
	// Address is what is kept, with its port.
	Address netip.AddrPort
}

// Reserve keeps an address; port 0 is any that is free. The socket is bound and does not listen, so that a server may
// listen there: SO_REUSEADDR of socket(7) lets two have an address of which not more than one listens.
func Reserve(at netip.AddrPort) (*Reservation, error) {
	raw, family := sys.EncodeAddress(nil, at)
	fd, err := sys.Socket(family, sys.Stream, true)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", os.NewSyscallError("socket", err))
	}
	r := &Reservation{fd: fd}
	err = sys.SetOption(fd, sys.Option{Level: sys.LevelSocket, Name: sys.ReuseAddress, Value: 1})
	if err == nil {
		err = sys.Bind(fd, raw)
	}
	if err == nil {
		r.Address, err = sys.LocalAddress(fd)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("bus: %v cannot be reserved: %w", at, err)
	}
	return r, nil
}

// Close lets go of the address.
func (r *Reservation) Close() { _ = sys.Close(r.fd) } // there is nothing to be done about an error
