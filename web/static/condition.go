package static

import (
	"time"

	"github.com/myriad-server/myriad/proto/http1"
)

// verdict is what the preconditions of a request say.
type verdict uint8

const (
	proceed verdict = iota
	unchanged
	failed
)

// judge evaluates the preconditions of a GET or HEAD in the order of RFC 9110 section 13.2.2, all but If-Range.
func judge(q *http1.Request, v *variant) verdict {
	if _, ok := q.Field(http1.IfMatch); ok {
		if !listed(q, http1.IfMatch, v.etag, false) {
			return failed
		}
	} else if value, ok := q.Field(http1.IfUnmodifiedSince); ok {
		if at, ok := http1.ParseTime(value); ok && v.modified > at {
			return failed
		}
	}
	if _, ok := q.Field(http1.IfNoneMatch); ok {
		if listed(q, http1.IfNoneMatch, v.etag, true) {
			return unchanged
		}
	} else if value, ok := q.Field(http1.IfModifiedSince); ok {
		if at, ok := http1.ParseTime(value); ok && v.modified <= at {
			return unchanged
		}
	}
	return proceed
}

// listed says whether a list of entity tags, on one or more lines, has etag in it or is "*". A weak tag matches only
// in a weak comparison; etag is strong. A list is read up to the first thing that is no tag.
func listed(q *http1.Request, id http1.KnownField, etag string, weak bool) bool {
	for i := range q.Fields() {
		if q.KnownAt(i) != id {
			continue
		}
		_, list := q.FieldAt(i)
		for {
			list = http1.TrimSpace(list)
			for len(list) > 0 && list[0] == ',' {
				list = http1.TrimSpace(list[1:])
			}
			if len(list) == 0 {
				break
			}
			if list[0] == '*' {
				return true
			}
			tag, isWeak, rest := entityTag(list)
			if tag == nil {
				break
			}
			if string(tag) == etag && (weak || !isWeak) {
				return true
			}
			list = rest
		}
	}
	return false
}

// entityTag takes an entity tag off the front of b; tag has the quotes, and is nil if there is none.
func entityTag(b []byte) (tag []byte, weak bool, rest []byte) {
	if len(b) > 2 && b[0] == 'W' && b[1] == '/' {
		weak, b = true, b[2:]
	}
	if len(b) < 2 || b[0] != '"' {
		return nil, false, nil
	}
	for i := 1; i < len(b); i++ {
		if b[i] == '"' {
			return b[:i+1], weak, b[i+1:]
		}
	}
	return nil, false, nil
}

// dateTime is how many seconds before the present a file must have been changed for its date to name it: within the
// second of a change there may have been another (RFC 9110 section 8.8.2.2).
const dateTime = 2

// ranged says whether the Range field counts, given If-Range (RFC 9110 section 13.1.5): only if that names the very
// file that would be sent.
func ranged(q *http1.Request, v *variant) bool {
	value, ok := q.Field(http1.IfRange)
	if !ok {
		return true
	}
	if tag, weak, rest := entityTag(value); tag != nil {
		return !weak && len(rest) == 0 && string(tag) == v.etag
	}
	at, ok := http1.ParseTime(value)
	return ok && at == v.modified && time.Now().Unix()-v.modified >= dateTime
}
