package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// This file lists what the workers list, as one list: each is asked for pages in the order that is wanted, and their
// heads are merged, so that no more is in memory than a page of each.

// told compares connections as they are told, by the keys of orders.
var told = map[string]func(a, b *Connection) int{
	"id":          func(a, b *Connection) int { return compareIDs(a.ID, b.ID) },
	"age":         byTold(func(c *Connection) Seconds { return c.Age }),
	"idle":        byTold(func(c *Connection) Seconds { return c.Quiet }),
	"in":          byTold(func(c *Connection) uint64 { return c.ReceivedBytes }),
	"out":         byTold(func(c *Connection) uint64 { return c.SentBytes }),
	"bytes":       byTold(func(c *Connection) uint64 { return c.ReceivedBytes + c.SentBytes }),
	"requests":    byTold(func(c *Connection) uint32 { return c.Requests }),
	"queued":      byTold(func(c *Connection) int64 { return c.QueuedBytes }),
	"rtt":         byTold(func(c *Connection) int64 { return c.kernel().RTT }),
	"retransmits": byTold(func(c *Connection) uint32 { return c.kernel().Retransmits }),
}

func byTold[N cmp.Ordered](of func(c *Connection) N) func(a, b *Connection) int {
	return func(a, b *Connection) int { return cmp.Compare(of(a), of(b)) }
}

// compareIDs compares numbers that are written in decimal.
func compareIDs(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// kernel is what the kernel knows; nothing for what is no TCP.
func (c *Connection) kernel() TCP {
	if c.TCP == nil {
		return TCP{}
	}
	return *c.TCP
}

// pages are the connections of one worker, a page at a time.
type pages struct {
	branch
	query url.Values
	first List // without its connections
	next  int
	size  int
	have  []Connection
	end   bool
}

// errRefused is the answer of a worker that does not like what it was asked.
type errRefused struct{ reply }

func (e errRefused) Error() string { return fmt.Sprintf("worker %d answers %d", e.worker, e.status) }

// turn gets the next page.
func (p *pages) turn(ctx context.Context) error {
	p.query.Set("offset", strconv.Itoa(p.next))
	p.query.Set("limit", strconv.Itoa(min(p.size, mostReach-p.next)))
	status, text, err := p.client.relay(ctx, http.MethodGet, "/v1/conns", p.query, nil)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return errRefused{reply{p.branch, status, text, nil}}
	}
	var page List
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	p.have, page.Connections = page.Connections, nil
	if p.next == 0 {
		p.first = page
	}
	p.next += p.size
	// Those that have ended between the selection and the answer are missing from a page that is not the last.
	p.end = p.next >= min(page.Matched, mostReach)
	return nil
}

// head is the first connection that was not taken; nil: there is none any more.
func (p *pages) head(ctx context.Context) (*Connection, error) {
	for len(p.have) == 0 {
		if p.end {
			return nil, nil
		}
		if err := p.turn(ctx); err != nil {
			return nil, err
		}
	}
	return &p.have[0], nil
}

func (a *above) conns(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	worker := query.Get("worker")
	query.Del("worker")
	checked := url.Values{}
	for name, values := range query {
		if name != "listener" { // the workers know which there are
			checked[name] = values
		}
	}
	selection, err := ParseSelection(checked, nil)
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
		return
	}
	if !a.begin(w) {
		return
	}
	defer func() { <-a.lists }()
	ctx, cancel := withPatience(r)
	defer cancel()
	list, err := a.branches(ctx)
	if err == nil && worker != "" {
		list = slices.DeleteFunc(list, func(b branch) bool { return strconv.FormatUint(b.worker, 10) != worker })
	}
	if err == nil && len(list) == 0 {
		err = errNobody
	}
	var page *List
	if err == nil {
		page, err = merge(ctx, list, query, &selection)
	}
	var refused errRefused
	switch {
	case errors.As(err, &refused):
		pass(w, refused.reply)
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err, "see GET /v1/workers")
	default:
		answer(w, http.StatusOK, page)
	}
}

// merge is a page of all workers' connections.
func merge(ctx context.Context, list []branch, query url.Values, s *Selection) (*List, error) {
	page := &List{
		Now: time.Now().UTC(), Offset: s.Offset, Limit: s.Limit, States: map[string]int{}, Connections: []Connection{},
	}
	all := make([]*pages, 0, len(list))
	for _, b := range list {
		p := &pages{branch: b, query: cloned(query), size: min(s.Offset+s.Limit, mostLimit)}
		if err := p.turn(ctx); err != nil {
			if errors.As(err, new(errRefused)) || ctx.Err() != nil {
				return nil, err
			}
			continue // it has ended meanwhile
		}
		page.Open, page.Matched = page.Open+p.first.Open, page.Matched+p.first.Matched
		for state, n := range p.first.States {
			page.States[state] += n
		}
		all = append(all, p)
	}
	for taken := 0; taken < s.Offset+s.Limit; taken++ {
		first, err := least(ctx, all, s)
		if err != nil || first == nil {
			return page, err
		}
		c := first.have[0]
		first.have = first.have[1:]
		if taken >= s.Offset {
			c.own(first.worker)
			page.Connections = append(page.Connections, c)
		}
	}
	return page, nil
}

// least is the worker whose next connection comes first; nil: there is none any more.
func least(ctx context.Context, all []*pages, s *Selection) (best *pages, err error) {
	for _, p := range all {
		c, err := p.head(ctx)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		if best == nil {
			best = p
			continue
		}
		order := told[s.Sort](c, &best.have[0])
		if s.Descending {
			order = -order
		}
		if order < 0 {
			best = p
		}
	}
	return best, nil
}

// serving are the workers to be asked one after the other. Without any the request is refused.
func (a *above) serving(ctx context.Context, w http.ResponseWriter) (list []branch, ok bool) {
	list, err := a.branches(ctx)
	if err == nil && len(list) == 0 {
		err = errNobody
	}
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err, "see GET /v1/workers")
		return nil, false
	}
	return list, true
}

func cloned(query url.Values) url.Values {
	own := url.Values{}
	for name, values := range query {
		own[name] = slices.Clone(values)
	}
	return own
}

// closeMany has one worker after the other close what is selected, until the limit is reached.
func (a *above) closeMany(w http.ResponseWriter, r *http.Request) {
	query, most := r.URL.Query(), math.MaxInt
	if query.Has("limit") {
		var err error
		if most, err = parseCount(query.Get("limit"), mostLimit); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Errorf("limit=%s: %w", query.Get("limit"), err), documentMend)
			return
		}
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	list, ok := a.serving(ctx, w)
	if !ok {
		return
	}
	var total Closed
	for _, b := range list {
		if most < math.MaxInt {
			query.Set("limit", strconv.Itoa(most-total.Closed))
		}
		status, text, err := b.client.relay(ctx, r.Method, r.URL.Path, query, nil)
		if err != nil {
			continue // it has ended meanwhile, and its connections with it
		}
		var one Closed
		if status != http.StatusOK || json.Unmarshal(text, &one) != nil {
			pass(w, reply{b, status, text, nil})
			return
		}
		total.Matched, total.Closed, total.DryRun = total.Matched+one.Matched, total.Closed+one.Closed, one.DryRun
	}
	answer(w, http.StatusOK, total)
}

// closed are the connections of all workers that have ended lately, the last ones first.
func (a *above) closed(w http.ResponseWriter, r *http.Request) {
	limit, err := defaultLimit, error(nil)
	if text := r.URL.Query().Get("limit"); text != "" {
		limit, err = parseCount(text, mostLimit)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
		return
	}
	replies, ok := a.ask(w, r, r.URL.Query(), nil)
	if !ok {
		return
	}
	all := []Connection{}
	for _, one := range replies {
		var some struct {
			Closed []Connection `json:"closed"`
		}
		if err := json.Unmarshal(one.text, &some); err != nil {
			refuse(w, http.StatusServiceUnavailable, err, "")
			return
		}
		for _, c := range some.Closed {
			c.own(one.worker)
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b Connection) int { return cmp.Compare(b.Ended, a.Ended) })
	answer(w, http.StatusOK, map[string]any{"closed": all[:min(limit, len(all))]})
}

// sessions are those of one worker after the other.
func (a *above) sessions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	selection, err := parseSessionSelection(query)
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	list, ok := a.serving(ctx, w)
	if !ok {
		return
	}
	page := SessionList{Offset: selection.offset, Limit: selection.limit, Sessions: []Session{}}
	for _, b := range list {
		query.Set("offset", strconv.Itoa(max(selection.offset-page.Matched, 0)))
		query.Set("limit", strconv.Itoa(selection.limit-len(page.Sessions)))
		var one SessionList
		status, text, err := b.client.relay(ctx, r.Method, r.URL.Path, query, nil)
		if err != nil {
			continue // it has ended meanwhile
		}
		if status != http.StatusOK || json.Unmarshal(text, &one) != nil {
			pass(w, reply{b, status, text, nil})
			return
		}
		for _, s := range one.Sessions {
			s.ID = owned(b.worker, s.ID)
			page.Sessions = append(page.Sessions, s)
		}
		page.Open, page.Matched = page.Open+one.Open, page.Matched+one.Matched
	}
	answer(w, http.StatusOK, page)
}
