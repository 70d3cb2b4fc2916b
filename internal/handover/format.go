package handover

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/sys"
)

// A batch is, in the machine's own order, as both ends are on one machine:
//
//	0  8  its number
//	8  4  how many parcels
//	then for each parcel its record, and behind it that of its mate, if it has one
//
// and a record is
//
//	0  4  how many bytes follow
//	4  4  the listener, by its place in the receiver's hello; -1: it was dialled
//	8  4  flags
//	12 4  requests
//	16 8  bytes received
//	24 8  bytes sent
//	32 4  bytes unread
//	36 4  bytes of state
//	40 ...  both
//	    ...  what later versions add
//
// The descriptors come in the order of the records.
const (
	batchHead  = 12
	recordHead = 40
)

// Flags of a record.
const (
	flagIdle = 1 << iota
	flagEnded
	flagFinal
	flagMate
)

// Limits of a batch.
const (
	// mostBatchBytes is how long a batch can be. What is longer than a message goes in several.
	mostBatchBytes = 16 << 20
	// mostParcelBytes is how much one connection can bring along.
	mostParcelBytes = 8 << 20
)

// errFormat says that what came is no batch.
var errFormat = errors.New("what came is no batch of connections")

// size is how many bytes a parcel takes, and how many descriptors.
func size(p *conn.Parcel) (bytes, fds int) {
	for ; p != nil; p = p.Mate {
		bytes, fds = bytes+recordHead+len(p.Unread)+len(p.State), fds+1
	}
	return bytes, fds
}

// newBatch begins a batch.
func newBatch(number uint64, count int) []byte {
	to := binary.NativeEndian.AppendUint64(nil, number)
	return binary.NativeEndian.AppendUint32(to, uint32(count))
}

// appendParcel appends the records of a parcel.
func appendParcel(to []byte, p *conn.Parcel, listener int) []byte {
	to = appendRecord(to, p, listener)
	if p.Mate != nil {
		to = appendRecord(to, p.Mate, -1)
	}
	return to
}

func appendRecord(to []byte, p *conn.Parcel, listener int) []byte {
	order := binary.NativeEndian
	to = order.AppendUint32(to, uint32(recordHead-4+len(p.Unread)+len(p.State)))
	to = order.AppendUint32(to, uint32(int32(listener)))
	flags := uint32(0)
	for _, f := range []struct {
		set  bool
		flag uint32
	}{{p.Idle, flagIdle}, {p.Ended, flagEnded}, {p.Final, flagFinal}, {p.Mate != nil, flagMate}} {
		if f.set {
			flags |= f.flag
		}
	}
	to = order.AppendUint32(to, flags)
	to = order.AppendUint32(to, p.Requests)
	to = order.AppendUint64(to, p.In)
	to = order.AppendUint64(to, p.Out)
	to = order.AppendUint32(to, uint32(len(p.Unread)))
	to = order.AppendUint32(to, uint32(len(p.State)))
	return append(append(to, p.Unread...), p.State...)
}

// decodeBatch takes a batch apart and believes nothing of it. The parcels have the descriptors, and slices of in. With
// an error the descriptors are still the caller's; the number is right if the batch was long enough to have one.
func decodeBatch(in []byte, fds []int) (number uint64, parcels []*conn.Parcel, err error) {
	if len(in) < batchHead {
		return 0, nil, fmt.Errorf("%w: it has %d bytes", errFormat, len(in))
	}
	number = binary.NativeEndian.Uint64(in)
	count, in := int(binary.NativeEndian.Uint32(in[8:])), in[batchHead:]
	if count > len(fds) {
		return number, nil, fmt.Errorf("%w: %d connections with %d descriptors", errFormat, count, len(fds))
	}
	for range count {
		var p *conn.Parcel
		var mated bool
		if p, mated, in, err = decodeRecord(in); err != nil {
			return number, nil, err
		}
		if mated {
			if p.Mate, mated, in, err = decodeRecord(in); err == nil && mated {
				err = fmt.Errorf("%w: three in one", errFormat)
			}
			if err != nil {
				return number, nil, err
			}
			p.Mate.Listener = -1 // whatever stands there: a mate was dialled
		}
		for own := p; own != nil; own = own.Mate {
			if len(fds) == 0 {
				return number, nil, fmt.Errorf("%w: there are more connections than descriptors", errFormat)
			}
			own.FD, fds = fds[0], fds[1:]
		}
		parcels = append(parcels, p)
	}
	if len(fds) > 0 || len(in) > 0 {
		return number, nil, fmt.Errorf("%w: %d descriptors and %d bytes are left over", errFormat, len(fds), len(in))
	}
	return number, parcels, nil
}

func decodeRecord(in []byte) (p *conn.Parcel, mated bool, rest []byte, err error) {
	order := binary.NativeEndian
	if len(in) < recordHead {
		return nil, false, nil, fmt.Errorf("%w: a record ends early", errFormat)
	}
	length := int64(order.Uint32(in)) + 4
	if length < recordHead || length > int64(len(in)) {
		return nil, false, nil, fmt.Errorf("%w: a record of %d bytes, where there are %d", errFormat, length, len(in))
	}
	record, rest := in[:length], in[length:]
	flags := order.Uint32(record[8:])
	unread, state := int64(order.Uint32(record[32:])), int64(order.Uint32(record[36:]))
	if recordHead+unread+state > length {
		return nil, false, nil, fmt.Errorf("%w: a record of %d bytes has %d of them", errFormat, length, unread+state)
	}
	p = &conn.Parcel{
		Listener: int(int32(order.Uint32(record[4:]))), FD: -1,
		Requests: order.Uint32(record[12:]), In: order.Uint64(record[16:]), Out: order.Uint64(record[24:]),
		Idle: flags&flagIdle != 0, Ended: flags&flagEnded != 0, Final: flags&flagFinal != 0,
	}
	if unread > 0 {
		p.Unread = record[recordHead : recordHead+unread : recordHead+unread]
	}
	// A state that is empty is one too: without any, the connection would be one that has just been accepted.
	p.State = record[recordHead+unread : recordHead+unread+state : recordHead+unread+state]
	return p, flags&flagMate != 0, rest, nil
}

// refusal is a parcel of a batch that the other side did not take.
type refusal struct {
	index int
	why   string
}

const mostRefusalBytes = 200 // of its text

// appendAcknowledge appends an acknowledgement: the number of the batch, how many were refused, and for each its index
// and why.
func appendAcknowledge(to []byte, number uint64, refused []refusal) []byte {
	order := binary.NativeEndian
	to = order.AppendUint64(to, number)
	to = order.AppendUint32(to, uint32(len(refused)))
	for _, r := range refused {
		to = order.AppendUint32(to, uint32(r.index))
		why := r.why[:min(len(r.why), mostRefusalBytes)]
		to = order.AppendUint32(to, uint32(len(why)))
		to = append(to, why...)
	}
	return to
}

func decodeAcknowledge(in []byte) (number uint64, refused []refusal, err error) {
	order := binary.NativeEndian
	if len(in) < batchHead {
		return 0, nil, fmt.Errorf("%w: an acknowledgement of %d bytes", errFormat, len(in))
	}
	number = order.Uint64(in)
	count := order.Uint32(in[8:])
	in = in[batchHead:]
	for range count {
		if len(in) < 8 || int64(order.Uint32(in[4:])) > int64(len(in)-8) {
			return 0, nil, fmt.Errorf("%w: an acknowledgement ends early", errFormat)
		}
		end := 8 + order.Uint32(in[4:])
		refused = append(refused, refusal{index: int(order.Uint32(in)), why: string(in[8:end])})
		in = in[end:]
	}
	return number, refused, nil
}

// Close closes the descriptors of a parcel.
func Close(p *conn.Parcel) {
	for ; p != nil; p = p.Mate {
		_ = sys.Close(p.FD)
	}
}

// CloseSockets closes what was asked for, or was to be offered.
func CloseSockets(sockets []Socket) {
	for _, s := range sockets {
		_ = sys.Close(s.FD)
	}
}
