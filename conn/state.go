package conn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// ErrState is why a connection is not taken over: what its handler packed in another process cannot be read here.
var ErrState = errors.New("the state of a connection from another process cannot be read")

// mostElapsed is the longest time that a state may tell of, some thirty years: no sum of it with the time of a thread
// overflows.
const mostElapsed = 1 << 40 * time.Millisecond

// AppendNumber appends a number to a state, for StateReader.Number.
func AppendNumber(state []byte, n uint64) []byte { return binary.AppendUvarint(state, n) }

// AppendText appends bytes with their length to a state, for StateReader.Text.
func AppendText[T string | []byte](state []byte, text T) []byte {
	return append(binary.AppendUvarint(state, uint64(len(text))), text...)
}

// AppendElapsed appends how long ago something was, in nanoseconds, to a state, for StateReader.Elapsed. Fractions of a
// millisecond are lost.
func AppendElapsed(state []byte, ns int64) []byte {
	return binary.AppendUvarint(state, uint64(min(max(0, ns), int64(mostElapsed))/int64(time.Millisecond)))
}

// AppendAddress appends an address to a state, for StateReader.Address: that of a socket of any kind, as handlers of
// datagrams see it, or none.
func AppendAddress(state []byte, a netip.AddrPort) []byte {
	binary, _ := a.AppendBinary(nil) // it cannot fail
	return AppendText(state, binary)
}

// longestAddress is what an address takes in a state at most: that of a Unix socket with the longest name.
const longestAddress = 128

// StateReader reads a state piece by piece, as it was appended. Behind the first piece that is not there, or is out of
// bounds, everything is zero, and End says so: nothing has to be looked at before.
type StateReader struct {
	rest []byte
	bad  bool
}

// ReadState begins to read a state, which must be of this version: the first byte of every state.
func ReadState(state []byte, version byte) StateReader {
	r := StateReader{rest: state}
	if r.Byte() != version {
		r.fail()
	}
	return r
}

// Byte is the next byte.
func (r *StateReader) Byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// Number is the next number, which is not more than most.
func (r *StateReader) Number(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > most {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// Text is the next bytes that have a length, which is not more than most. They lie in the state.
func (r *StateReader) Text(most int) []byte {
	n := r.Number(uint64(most))
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	text := r.rest[:n:n]
	r.rest = r.rest[n:]
	return text
}

// Elapsed is how long ago something was, in nanoseconds; never negative, and no more than some thirty years.
func (r *StateReader) Elapsed() int64 {
	return int64(r.Number(uint64(mostElapsed/time.Millisecond))) * int64(time.Millisecond)
}

// Address is the next address.
func (r *StateReader) Address() (a netip.AddrPort) {
	if a.UnmarshalBinary(r.Text(longestAddress)) != nil {
		r.fail()
		return netip.AddrPort{}
	}
	return a
}

// Rest is all that was not read yet. It lies in the state.
func (r *StateReader) Rest() []byte {
	rest := r.rest
	r.rest = nil
	return rest
}

// Refuse has End report an error, because a piece is not what it must be.
func (r *StateReader) Refuse() { r.fail() }

// End is ErrState unless every piece was sound and nothing is left.
func (r *StateReader) End() error {
	if r.bad || len(r.rest) > 0 {
		return ErrState
	}
	return nil
}

func (r *StateReader) fail() { r.rest, r.bad = nil, true }
