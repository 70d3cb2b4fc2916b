package http1

import "slices"

// forbiddenTrailers are the fields that must not come as trailers: those that delimit, route, authenticate, modify the
// request or say how to process the content (RFC 9110 section 6.5.1). Honoured late they would contradict what was
// decided; merged into the head they are a way to smuggle.
const forbiddenTrailers uint64 = 1<<Host | 1<<Connection | 1<<ContentLength | 1<<TransferEncoding | 1<<Expect |
	1<<Upgrade | 1<<Trailer | 1<<TE | 1<<KeepAlive | 1<<ProxyConnection | 1<<Range | 1<<IfRange | 1<<IfMatch |
	1<<IfNoneMatch | 1<<IfModifiedSince | 1<<IfUnmodifiedSince | 1<<Cookie | 1<<SetCookie | 1<<Authorization |
	1<<ProxyAuthorization | 1<<WWWAuthenticate | 1<<ProxyAuthenticate | 1<<ContentType | 1<<ContentEncoding |
	1<<ContentRange | 1<<CacheControl | 1<<MaxForwards | 1<<Via | 1<<Forwarded | 1<<XForwardedFor | 1<<XForwardedHost |
	1<<XForwardedProto | 1<<XRealIP | 1<<Date | 1<<Location | 1<<Vary | 1<<Age | 1<<Expires | 1<<RetryAfter

// readTrailers reads the trailer section as far as in goes and returns how many bytes of in that was.
func (d *BodyDecoder) readTrailers(in []byte) (int, *Error) {
	if len(d.buffer) == 0 && len(in) >= 2 && in[0] == '\r' && in[1] == '\n' {
		d.state = bodyDone
		return 2, nil
	}
	limits := Limits{HeadBytes: DefaultTrailerBytes, Fields: DefaultTrailerFields}
	if d.TrailerBytes > 0 {
		limits.HeadBytes = min(d.TrailerBytes, largestHeadBytes)
	}
	if d.TrailerFields > 0 {
		limits.Fields = min(d.TrailerFields, largestFields)
	}
	before := len(d.buffer)
	d.buffer = append(d.buffer, in[:min(len(in), limits.HeadBytes-before)]...)
	n, err := d.trailers.scan(d.buffer, &limits)
	switch {
	case err == error(ErrHeadSize):
		return 0, ErrTrailerSize
	case err != nil:
		fault, _ := err.(*Error)
		return 0, fault
	case n == 0:
		return len(d.buffer) - before, nil
	case d.trailers.present&forbiddenTrailers == 0:
	case d.DropTrailers:
		d.dropForbidden()
	default:
		return 0, ErrTrailerField
	}
	d.buffer = d.buffer[:n]
	d.state = bodyDone
	return n - before, nil
}

// dropForbidden forgets the trailers that are not allowed.
func (d *BodyDecoder) dropForbidden() {
	t := &d.trailers
	t.fields = slices.DeleteFunc(t.fields, func(f field) bool { return forbiddenTrailers>>f.known&1 != 0 })
	t.present &^= forbiddenTrailers
	t.twice &^= forbiddenTrailers
}

// Trailers returns how many trailer fields a chunked body had, once it is done.
func (d *BodyDecoder) Trailers() int {
	if d.state != bodyDone {
		return 0
	}
	return len(d.trailers.fields)
}

// Trailer returns name and value of the i-th trailer field, from 0 to Trailers()-1. Both are valid until the next
// Start and must not be written to.
func (d *BodyDecoder) Trailer(i int) (name, value []byte) { return d.trailers.at(d.buffer, i) }
