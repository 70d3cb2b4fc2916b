package static

import (
	"bytes"

	"github.com/myriad-server/myriad/proto/http1"
)

// maxCodings is how many codings there are.
const maxCodings = 3

// coding is a content coding and the end of the names of files in it.
type coding struct{ name, suffix string }

var codings = [maxCodings]coding{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

func codingNamed(name string) (coding, bool) {
	for _, c := range codings {
		if c.name == name {
			return c, true
		}
	}
	return coding{}, false
}

// choose takes the variant that the client weighs most (RFC 9110 section 12.5.3), and of equals the server's
// favourite. A coding is chosen only if the client names it or says "*"; the plain file stands back behind those
// unless it is weighed too. When nothing is acceptable it is the plain file as well: a client that can do nothing with
// it is rare, and 406 helps none.
func (r *resource) choose(q *http1.Request, codings []coding) *variant {
	if !r.varies {
		return r.plain
	}
	if _, ok := q.Field(http1.AcceptEncoding); !ok {
		return r.plain
	}
	best, most := r.plain, 0
	if weight, named := weigh(q, "identity"); named {
		most = weight
	}
	for i, c := range codings {
		if r.coded[i] == nil {
			continue
		}
		weight, named := weigh(q, c.name)
		if !named && c.name == "gzip" {
			weight, named = weigh(q, "x-gzip")
		}
		if !named {
			weight, _ = weigh(q, "*")
		}
		if weight > most || weight == most && weight > 0 && best == r.plain {
			best, most = r.coded[i], weight
		}
	}
	return best
}

// weigh is the weight, 0 to 1000, that the Accept-Encoding fields give a coding, and whether they name it.
func weigh(q *http1.Request, name string) (weight int, named bool) {
	for i := range q.Fields() {
		if q.KnownAt(i) != http1.AcceptEncoding {
			continue
		}
		_, list := q.FieldAt(i)
		for more := true; more; {
			var member []byte
			member, list, more = cut(list, ',')
			token, parameter, _ := cut(member, ';')
			if http1.EqualFold(token, name) {
				return quality(parameter), true
			}
		}
	}
	return 0, false
}

// quality reads "q=" and a weight. What cannot be read weighs nothing, so that it is not chosen.
func quality(parameter []byte) int {
	if len(parameter) == 0 {
		return 1000
	}
	key, value, ok := cut(parameter, '=')
	if !ok || !http1.EqualFold(key, "q") || len(value) == 0 || len(value) > 5 {
		return 0
	}
	if value[0] != '0' && value[0] != '1' || len(value) > 1 && value[1] != '.' {
		return 0
	}
	weight, scale := int(value[0]-'0')*1000, 100
	for _, c := range value[min(2, len(value)):] {
		if c < '0' || c > '9' {
			return 0
		}
		weight += int(c-'0') * scale
		scale /= 10
	}
	return min(weight, 1000)
}

// cut is bytes.Cut at one byte, without the whitespace around both parts.
func cut(b []byte, at byte) (before, behind []byte, found bool) {
	i := bytes.IndexByte(b, at)
	if i < 0 {
		return http1.TrimSpace(b), nil, false
	}
	return http1.TrimSpace(b[:i]), http1.TrimSpace(b[i+1:]), true
}
