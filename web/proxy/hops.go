package proxy

import (
	"math"
	"strconv"

	"github.com/myriad-server/myriad/proto/http1"
)

var hops = http1.FieldsOf(http1.MaxForwards)

// hopsLeft is what Max-Forwards says of a request with OPTIONS (RFC 9110 section 7.6.2); negative: nothing that can be
// understood, or it is about another method. TRACE does not get here: the server refuses it, because its answer would
// show a page the credentials that the browser keeps from it.
func hopsLeft(r *http1.Request) int64 {
	if r.Method != http1.OPTIONS || !r.Has(hops) {
		return -1
	}
	value, _ := r.Field(http1.MaxForwards)
	if len(value) == 0 {
		return -1
	}
	left := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return -1
		}
		left = min(left, math.MaxInt64/16)*10 + int64(c-'0')
	}
	return left
}

// appendHops appends the Max-Forwards line of a request that has hops left.
func appendHops(b []byte, left int64) []byte {
	b = append(b, "Max-Forwards: "...)
	b = strconv.AppendInt(b, left-1, 10)
	return append(b, "\r\n"...)
}
