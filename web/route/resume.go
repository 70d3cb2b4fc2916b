package route

import (
	"errors"

	"github.com/myriad-server/myriad/web"
)

var _ web.Resumer = (*Table)(nil)

// Resume has the first route go on with the connection whose handler knows what it was switched to, wherever the
// request had led in the other process: routes may have been renamed since.
func (t *Table) Resume(r *web.Resumption) (web.Upgraded, error) {
	for i := range t.routes {
		if h, resumes := t.routes[i].handler.(web.Resumer); resumes {
			if v, err := h.Resume(r); !errors.Is(err, web.ErrUpgrade) {
				return v, err
			}
		}
	}
	return nil, web.ErrUpgrade
}
