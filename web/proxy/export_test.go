package proxy

import "reflect"

// TunnelBytes is what a tunnel takes.
var TunnelBytes = reflect.TypeFor[tunnel]().Size()

// Busy is how many sessions the thread of a number has given out and not got back.
func (h *Handler) Busy(number int) int {
	if a := h.agents[number].Load(); a != nil {
		return a.busy
	}
	return 0
}

// DenialOf is the word for why there is no link.
func DenialOf(err error) (word, address string) {
	cause, e := denial(err)
	if e != nil {
		address = e.Address()
	}
	return cause.String(), address
}

// ErrBroken is what a client's connection is reset with when nothing else shows that its answer is short.
var ErrBroken = errBroken

// ReasonOf is what is known of why there is no link.
var ReasonOf = reasonOf
