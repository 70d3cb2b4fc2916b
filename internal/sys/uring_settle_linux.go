package sys

import "unsafe"

// RingFiles is IORING_OP_FILES_UPDATE.
const RingFiles = 20

// anySlot has the kernel choose (IORING_FILE_INDEX_ALLOC).
const anySlot = 1<<32 - 1

// Settle puts an ordinary descriptor into some empty slot of the ring's table, without closing it. *place holds it, and
// then the slot; it must stay where it is until the outcome, which is 1.
func (s *Submission) Settle(place *int32, user uint64) {
	*s = Submission{
		Opcode: RingFiles, FD: -1, Off: anySlot, Addr: uint64(uintptr(unsafe.Pointer(place))), Len: 1, UserData: user,
	}
}
