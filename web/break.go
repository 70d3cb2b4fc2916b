package web

import "github.com/myriad-server/myriad/conn"

// Break ends an answer of which only a part will ever come: what is queued goes out first, and then the connection
// ends in a way that the client cannot take for the end of the answer. Content that is delimited by its length or by
// chunks shows with any end that it is short, so the connection is closed in order (RFC 9112 section 8): a reset could
// take from the client what it has not read yet. Content that lasts until the connection closes is followed by a
// reset. An answer that has not begun is not given any more, as with Abort.
func (x *Exchange) Break(why error) {
	cut := x.answering == streaming || x.answering == ending
	if !cut || x.c == nil || x.c.State() > conn.Open || x.c.Queued() == 0 && x.framing == byClose {
		x.Abort(why)
		return
	}
	x.answering, x.fate = answered, last
	x.dropWaits()
	x.forget()
	x.account()
	if x.framing == byClose {
		x.breaks = why
	}
	if !x.driven {
		x.handler.settle(x)
	}
}

// breakAway resets the connection when what is queued has left it.
func (h *handler) breakAway(x *Exchange) {
	c, why := x.c, x.breaks
	if c.Queued() == 0 {
		h.detach(x)
		c.Abort(why)
		return
	}
	h.attach(x)
	x.regulate()
	x.arm()
}
