package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/stream"
)

// Session is a session of datagrams, which has no connection, as the API tells of it.
type Session struct {
	// ID is for DELETE /v1/sessions/{id}.
	ID       string `json:"id"`
	Loop     int    `json:"loop"`
	Listener string `json:"listener"`
	Peer     string `json:"peer"`
	// Local is which of the listener's addresses the client sends to, if it has more than one.
	Local string `json:"local,omitempty"`
	// Endpoint is where the datagrams go; none: nobody was reached yet, or nobody could be.
	Endpoint string `json:"endpoint,omitempty"`
	Reached  bool   `json:"reached"`
	// Age is since the first datagram, Quiet since the last of either side.
	Age   Seconds `json:"age_seconds"`
	Quiet Seconds `json:"quiet_seconds"`

	Received          uint64 `json:"received_datagrams"`
	ReceivedBytes     uint64 `json:"received_bytes"`
	Sent              uint64 `json:"sent_datagrams"`
	SentBytes         uint64 `json:"sent_bytes"`
	FromEndpoint      uint64 `json:"endpoint_received_datagrams"`
	FromEndpointBytes uint64 `json:"endpoint_received_bytes"`
	ToEndpoint        uint64 `json:"endpoint_sent_datagrams"`
	ToEndpointBytes   uint64 `json:"endpoint_sent_bytes"`
}

// SessionList is a page of sessions, in the order of their places.
type SessionList struct {
	Open     int       `json:"open"`
	Matched  int       `json:"matched"`
	Offset   int       `json:"offset"`
	Limit    int       `json:"limit"`
	Sessions []Session `json:"sessions"`
}

// sessionSelection says which sessions are meant.
type sessionSelection struct {
	peer          netip.Prefix
	listener      string
	older, quiet  time.Duration
	offset, limit int
}

func parseSessionSelection(v url.Values) (s sessionSelection, err error) {
	s.limit = defaultLimit
	for name, values := range v {
		for _, value := range values {
			switch name {
			case "peer":
				s.peer, err = parsePrefix(value)
			case "listener":
				s.listener = value
			case "older":
				s.older, err = parseDuration(value)
			case "idle":
				s.quiet, err = parseDuration(value)
			case "offset":
				s.offset, err = parseCount(value, mostReach)
			case "limit":
				s.limit, err = parseCount(value, mostLimit)
			default:
				err = errors.New("there is no such parameter; there are peer, listener, older, idle, offset, limit")
			}
			if err != nil {
				return s, fmt.Errorf("%s=%s: %w", name, value, err)
			}
		}
	}
	return s, nil
}

// selects reports that a session of a listener is meant.
func (s *sessionSelection) selects(listener string, o *stream.Session) bool {
	_, bare, _ := strings.Cut(listener, "://")
	switch {
	case s.older > o.Age, s.quiet > o.Quiet:
		return false
	case s.listener != "" && s.listener != listener && s.listener != bare:
		return false
	}
	return !s.peer.IsValid() || s.peer.Contains(o.Client.Addr().WithZone(""))
}

// sessions lists the sessions of all listeners that pass datagrams on.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	selection, err := parseSessionSelection(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err, documentMend)
		return
	}
	s.look(w, r, func(ctx context.Context) (any, error) { return s.listSessions(ctx, &selection) })
}

func (s *Server) listSessions(ctx context.Context, selection *sessionSelection) (*SessionList, error) {
	page := &SessionList{Offset: selection.offset, Limit: selection.limit, Sessions: []Session{}}
	number := 0
	for listener, of := range s.app.Datagrams() {
		some := make([]stream.Session, conn.ListMost) // whoever is asked too long keeps it
		for from := uint64(0); ; {
			n, next, err := of.List(ctx, from, some)
			if err != nil {
				return nil, err
			}
			for i := range some[:n] {
				page.Open++
				if !selection.selects(listener, &some[i]) {
					continue
				}
				if page.Matched++; page.Matched > selection.offset && len(page.Sessions) < selection.limit {
					page.Sessions = append(page.Sessions, tellSession(number, listener, &some[i]))
				}
			}
			if from = next; next == 0 {
				break
			}
		}
		number++
	}
	return page, nil
}

func tellSession(number int, listener string, o *stream.Session) Session {
	told := Session{
		ID: strconv.Itoa(number) + "-" + strconv.FormatUint(o.ID, 10), Loop: o.Worker, Listener: listener,
		Peer: conn.PeerName(o.Client), Endpoint: o.Upstream, Reached: o.Reached, Age: Seconds(o.Age), Quiet: Seconds(o.Quiet),
		Received: o.Received.Datagrams, ReceivedBytes: o.Received.Bytes,
		Sent: o.Sent.Datagrams, SentBytes: o.Sent.Bytes,
		FromEndpoint: o.UpstreamReceived.Datagrams, FromEndpointBytes: o.UpstreamReceived.Bytes,
		ToEndpoint: o.UpstreamSent.Datagrams, ToEndpointBytes: o.UpstreamSent.Bytes,
	}
	if o.Home.IsValid() {
		told.Local = o.Home.String()
	}
	return told
}

var errNoSession = errors.New("there is no such session of datagrams")

// endSession ends one session.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	listener, text, _ := strings.Cut(r.PathValue("id"), "-")
	number, err := strconv.Atoi(listener)
	id, errID := strconv.ParseUint(text, 10, 64)
	if err = errors.Join(err, errID); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("%q is no ID of a session", r.PathValue("id")), "write a listed id")
		return
	}
	ctx, cancel := withPatience(r)
	defer cancel()
	var all []*stream.UDP
	for _, of := range s.app.Datagrams() {
		all = append(all, of)
	}
	ended := false
	if number >= 0 && number < len(all) {
		ended, err = all[number].End(ctx, id)
	}
	switch {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err, "")
	case !ended:
		refuse(w, http.StatusNotFound, errNoSession, "see GET /v1/sessions")
	default:
		s.log.Info("a session of datagrams is ended by the operator", "session", r.PathValue("id"))
		answer(w, http.StatusOK, Closed{Matched: 1, Closed: 1})
	}
}
