package uring

import (
	"github.com/myriad-server/myriad/internal/sys"
)

// Settle is Adopt for an established connection: with direct descriptors it gets a slot of a table, as if it had been
// accepted here, so that it is no descriptor of the process any more. Where there is no slot it stays an ordinary one.
func (d *uring) Settle(fd int) (int, error) {
	adopted, err := d.Adopt(fd)
	if err != nil || d.direct == nil {
		return adopted, err
	}
	r := d.settleIn()
	if r == nil {
		return adopted, nil
	}
	s := d.next(r)
	if s == nil {
		return adopted, nil
	}
	r.settling, r.place = true, int32(fd)
	r.free--
	s.Settle(&r.place, userSettle)
	r.supply.fill()
	_ = r.q.Enter()
	for i := range r.q.Ready() {
		o := r.q.Outcome(i)
		if o.UserData != userSettle {
			continue
		}
		o.UserData, r.settling = userIgnore, false
		if o.Res != 1 {
			r.free++
			return adopted, nil
		}
		_ = sys.Close(fd)
		return directBit | r.index<<ringShift | int(r.place), nil
	}
	return adopted, nil // settled evicts it when the outcome comes
}

// settleIn is the ring with room for one more connection beside all that a multishot accept may bring.
func (d *uring) settleIn() *ring {
	r := d.roomiest()
	if r == nil || r.free <= 2*d.margin {
		r = d.openTable()
	}
	if r == nil || r.free <= 2*d.margin || r.settling {
		return nil
	}
	return r
}

// settled takes an outcome that Settle has not waited for: the connection is an ordinary one.
func (d *uring) settled(r *ring, o *sys.Outcome) {
	r.settling = false
	if o.Res != 1 {
		r.free++
		return
	}
	if s := d.next(r); s != nil {
		s.CloseDirect(int(r.place), userVacate)
	}
}
