package web

import "github.com/myriad-server/myriad/conn"

// Forsake has the exchange given up as soon as the client has sent its last byte, in place of answering it all the
// same: nearly every client that ends its side has gone. OnClosed tells. A request that arrives together with the end
// is given up too, once Serve has returned.
func (x *Exchange) Forsake() { x.forsakes = true }

// forsaken says that the client has ended, and that nobody else wants the answer.
func (x *Exchange) forsaken() bool {
	return x.ended && x.forsakes && x.answering < ending && (x.reading == inBody || x.reading == complete)
}

// forsake gives up an exchange whose client has gone. One that is there all the same, with its side closed, sees an end
// without an answer; in the middle of one a reset, so that it never takes a part for the whole.
func (h *handler) forsake(x *Exchange) {
	begun := x.answering == streaming
	h.abandon(x, nil)
	switch {
	case begun:
		x.c.Abort(conn.ErrAborted)
	case !h.leave(x):
		h.attach(x)
		x.arm()
	}
}

// listens says that the connection is read although nothing of it can be used now, up to a limit: the end of a client
// whose request waits could not be seen otherwise.
func (x *Exchange) listens() bool {
	return x.forsakes && x.answering == unanswered && len(x.pending) < smallBytes
}
