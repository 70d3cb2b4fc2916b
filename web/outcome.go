package web

import "time"

// Outcome is what became of a request, for Server.Done.
type Outcome struct {
	// Status is that of the answer, and Bytes how much content it had; as in Record.
	Status int
	Bytes  int64
	// Duration is from the first byte of the request until now, by the clock of the connection's thread.
	Duration time.Duration
	// Upstream, Cause and Attempts are what was noted of the exchange; as in Record.
	Upstream, Cause string
	Attempts        int
}

// Outcome is what has become of the exchange. It is for Server.Done.
func (x *Exchange) Outcome() Outcome {
	return Outcome{
		Status: x.status, Bytes: x.sent, Duration: time.Duration(x.c.Now() - x.began),
		Upstream: x.origin, Cause: x.cause, Attempts: x.attempts,
	}
}
