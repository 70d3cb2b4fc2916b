package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/internal/proc"
)

// Receive gives parcels to arrive, a batch at a time, until there are no more. The listener of a parcel is its place in
// the hello. arrive answers with an error for each that it did not take, or with nil for all that it took: the
// descriptors of what was taken are its own from then on, and what was not taken goes back. What was received is this
// process's also when the other dies: then the error is io.EOF.
//
// left, if set, is called when the other process has let go of the listening sockets.
func Receive(ctx context.Context, channel *proc.Channel, arrive func(p []*conn.Parcel) []error, left func(),
) (taken int, err error) {
	r := receiver{channel: channel, arrive: arrive, next: 1}
	for {
		m, err := channel.Receive(ctx)
		switch {
		case errors.Is(err, proc.ErrDescriptorsLost):
			// Batches are numbered without gaps, and a message with descriptors is the end of one.
			r.part, err = nil, r.refuse(ctx, r.next, err)
			r.next++
		case err != nil:
		case m.Kind == kindDone:
			return r.taken, channel.Send(ctx, proc.Message{Kind: kindDone})
		case m.Kind == kindLeft && len(m.Descriptors) == 0:
			if left != nil {
				left()
			}
		case m.Kind == kindPart && len(m.Descriptors) == 0 && len(r.part)+len(m.Payload) <= mostBatchBytes:
			r.part = append(r.part, m.Payload...)
		case m.Kind == kindBatch:
			err = r.batch(ctx, m)
		default:
			m.Close()
			err = fmt.Errorf("%w: of kind %d", errOrder, m.Kind)
		}
		if err != nil {
			return r.taken, err
		}
	}
}

type receiver struct {
	channel *proc.Channel
	arrive  func(p []*conn.Parcel) []error
	next    uint64 // number of the next batch
	part    []byte // of a batch that comes in several messages
	taken   int
	out     []byte
}

func (r *receiver) batch(ctx context.Context, m proc.Message) error {
	in := m.Payload
	if len(r.part) > 0 {
		in, r.part = append(r.part, in...), nil
	}
	number, parcels, err := decodeBatch(in, m.Descriptors)
	if err == nil && number != r.next {
		err = fmt.Errorf("%w: it has number %d, and the next one is %d", errFormat, number, r.next)
	}
	if err != nil {
		m.Close()
		number = r.next
		r.next++
		return r.refuse(ctx, number, err)
	}
	r.next++
	var refused []refusal
	for i, err := range r.arrive(parcels) {
		if err != nil {
			refused = append(refused, refusal{i, err.Error()})
			Close(parcels[i])
		}
	}
	r.taken += len(parcels) - len(refused)
	return r.acknowledge(ctx, number, refused)
}

// refuse sends a whole batch back.
func (r *receiver) refuse(ctx context.Context, number uint64, why error) error {
	return r.acknowledge(ctx, number, []refusal{{wholeBatch, why.Error()}})
}

// wholeBatch is the index of a refusal that means all of a batch.
const wholeBatch = 1<<31 - 1

func (r *receiver) acknowledge(ctx context.Context, number uint64, refused []refusal) error {
	// What has arrived must be acknowledged, also if nothing more is wanted: the sender would go on with it too.
	ctx = context.WithoutCancel(ctx)
	r.out = appendAcknowledge(r.out[:0], number, refused)
	return r.channel.Send(ctx, proc.Message{Kind: kindAcknowledge, Payload: r.out})
}

// Gone reports that the other process has ended, or has let go of the channel.
func Gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
