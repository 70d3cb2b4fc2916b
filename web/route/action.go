package route

import (
	"fmt"
	"strings"

	"github.com/myriad-server/myriad/proto/http1"
	"github.com/myriad-server/myriad/web"
)

// Respond answers with a fixed content.
type Respond struct {
	// Status is 200 to 599; zero means 200.
	Status int
	// Body is the content, and Type its media type; without one the field is left out.
	Body, Type string
	// Fields are further fields of the answer.
	Fields []http1.FieldLine
}

// Handler makes the answer. An error says what is wrong with the description.
func (r Respond) Handler() (web.Handler, error) {
	if r.Status == 0 {
		r.Status = 200
	}
	if r.Status < 200 || r.Status > 599 {
		return nil, fmt.Errorf("the status %d is not 200 to 599", r.Status)
	}
	return fixed{web.NewAnswer(r.Status, r.Type, []byte(r.Body), r.Fields...)}, nil
}

// fixed gives one answer to everything.
type fixed struct{ answer *web.Answer }

func (f fixed) Serve(x *web.Exchange) { x.Respond(f.answer) }

// Redirect sends the client elsewhere.
type Redirect struct {
	// To is a URL, or a path that begins with "/".
	To string
	// Status is 301, 302, 303, 307 or 308; zero means 308.
	Status int
	// Append adds the path and the query of the request to To, whose own "/" at the end is dropped. To has no query.
	Append bool
}

// Handler makes the answer. An error says what is wrong with the description.
func (r Redirect) Handler() (web.Handler, error) {
	if r.Status == 0 {
		r.Status = 308
	}
	switch r.Status {
	case 301, 302, 303, 307, 308:
	default:
		return nil, fmt.Errorf("the status %d does not redirect: 301, 302, 303, 307 and 308 do", r.Status)
	}
	for i := range len(r.To) {
		if c := r.To[i]; c <= ' ' || c >= 0x7f {
			return nil, fmt.Errorf("%q has a byte that must be percent-encoded", r.To)
		}
	}
	if r.To == "" {
		return nil, fmt.Errorf("there is nowhere to redirect to")
	}
	if !r.Append {
		return fixed{web.NewAnswer(r.Status, "", nil, http1.FieldLine{Name: "Location", Value: r.To})}, nil
	}
	if strings.ContainsAny(r.To, "?#") {
		return nil, fmt.Errorf("a path cannot be appended to %q, which has a query or a fragment", r.To)
	}
	return &appending{to: strings.TrimRight(r.To, "/"), answer: web.NewAnswer(r.Status, "", nil)}, nil
}

// appending redirects to what stands in for a prefix of every path.
type appending struct {
	to     string
	answer *web.Answer
}

// Serve puts the location together. The path begins with one "/" and holds no "\", so that it cannot name a host
// when there is none before it.
func (a *appending) Serve(x *web.Exchange) {
	var space [512]byte
	b := append(space[:0], a.to...)
	b = web.EscapePath(b, x.Path())
	if query := x.Query(); query != nil {
		b = append(b, '?')
		b = append(b, query...)
	}
	x.AddBytes("Location", b)
	x.Respond(a.answer)
}

// NotFound answers 404.
var NotFound web.Handler = web.HandlerFunc(func(x *web.Exchange) { x.Fail(404) })
