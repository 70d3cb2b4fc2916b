package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/myriad-server/myriad/internal/control"
)

type connsCommand struct {
	List  connsListCommand  `cmd:"" default:"withargs" help:"List connections: the default."`
	Close connsCloseCommand `cmd:"" help:"Close connections, by ID or by selection."`

	Datagrams connsDatagramsCommand `cmd:"" help:"List sessions of datagrams, which have no connections."`
}

// connsSelection are the flags that say which connections are meant.
type connsSelection struct {
	Admin    string        `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	State    []string      `placeholder:"STATE" help:"idle, active, paused, ..., or of TCP: CLOSE_WAIT, ..."`
	Peer     string        `placeholder:"IP" help:"Peers at an address, or in a range such as 10.0.0.0/8."`
	Listener string        `placeholder:"ADDR" help:"Accepted at a listener, by its address or number."`
	Loop     string        `placeholder:"N" help:"Of one loop."`
	Protocol string        `placeholder:"NAME" help:"http, tcp, echo, discard, tunnel, or upstream for what was dialled."`
	Older    time.Duration `placeholder:"TIME" help:"At least so old, such as 5m."`
	Idle     time.Duration `placeholder:"TIME" help:"Nothing has happened for so long."`
	MinBytes uint64        `placeholder:"N" help:"At least so many bytes were received and sent."`
}

// query is what the flags say, as the API takes it.
func (s *connsSelection) query() url.Values {
	query := url.Values{}
	set := func(name, value string, said bool) {
		if said {
			query.Set(name, value)
		}
	}
	set("state", strings.Join(s.State, ","), len(s.State) > 0)
	set("peer", s.Peer, s.Peer != "")
	set("listener", s.Listener, s.Listener != "")
	set("loop", s.Loop, s.Loop != "")
	set("protocol", s.Protocol, s.Protocol != "")
	set("older", s.Older.String(), s.Older != 0)
	set("idle", s.Idle.String(), s.Idle != 0)
	set("min_bytes", strconv.FormatUint(s.MinBytes, 10), s.MinBytes > 0)
	return query
}

type connsListCommand struct {
	connsSelection
	Sort    string        `placeholder:"KEY" help:"age, idle, in, out, bytes, requests, queued, rtt, retransmits or id."`
	Reverse bool          `help:"The other way round."`
	Limit   int           `default:"50" help:"How many."`
	Offset  int           `help:"How many to leave out at the top."`
	Watch   bool          `help:"List again and again, until it is interrupted."`
	Every   time.Duration `default:"2s" help:"The time between two lists of --watch."`
	JSON    bool          `help:"Print JSON, as the API answers it."`
}

// Run lists connections of a running server.
func (k connsListCommand) Run(c console) error {
	if k.Every < 100*time.Millisecond {
		return usage(fmt.Errorf("--every %s is too often; 100ms at least", k.Every))
	}
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for {
		err := k.once(ctx, c, client)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil || !k.Watch:
			return err
		}
		select {
		case <-time.After(k.Every):
		case <-ctx.Done():
			return nil
		}
	}
}

func (k *connsListCommand) once(ctx context.Context, c console, client *control.Client) error {
	query := k.query()
	query.Set("limit", strconv.Itoa(k.Limit))
	query.Set("offset", strconv.Itoa(k.Offset))
	if k.Sort != "" {
		query.Set("sort", k.Sort)
	}
	if k.Reverse {
		order := "asc"
		if k.Sort == "" || k.Sort == "id" {
			order = "desc"
		}
		query.Set("order", order)
	}
	var page control.List
	text, err := client.Ask(ctx, "GET", "/v1/conns", query, &page)
	if err != nil {
		return err
	}
	if k.JSON {
		_, err := c.out.Write(text)
		return err
	}
	if k.Watch && isTerminal(c.out) {
		fmt.Fprint(c.out, "\x1b[H\x1b[2J")
	}
	return printConnections(c.out, &page)
}

// printConnections writes a page as a table, and below it what was left out.
func printConnections(w io.Writer, page *control.List) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	paired := slices.ContainsFunc(page.Connections, func(o control.Connection) bool { return o.Partner != "" })
	fmt.Fprint(table, "ID\tSTATE\tTCP\tPROTOCOL\tPEER\tAGE\tQUIET\tIN\tOUT\tQUEUED\tREQUESTS\tRTT\tUPSTREAM")
	if paired {
		fmt.Fprint(table, "\tPARTNER")
	}
	fmt.Fprintln(table)
	for i := range page.Connections {
		o := &page.Connections[i]
		tcp, rtt := "-", "-"
		if o.TCP != nil {
			tcp, rtt = o.TCP.State, (time.Duration(o.TCP.RTT) * time.Microsecond).String()
		}
		upstream := o.Upstream
		if o.Endpoint != "" {
			upstream = strings.TrimSpace(upstream + " " + o.Endpoint)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s", o.ID, o.State, tcp, o.Protocol,
			orDash(o.Peer), age(o.Age), age(o.Quiet), size(o.ReceivedBytes), size(o.SentBytes),
			size(uint64(max(o.QueuedBytes, 0))), o.Requests, rtt, orDash(upstream))
		if paired {
			fmt.Fprint(table, "\t", orDash(o.Partner))
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var states []string
	for state, n := range page.States {
		states = append(states, fmt.Sprintf("%d %s", n, state))
	}
	sort.Strings(states)
	_, err := fmt.Fprintf(w, "%d shown of %d selected of %d open: %s\n", len(page.Connections), page.Matched, page.Open,
		orDash(strings.Join(states, ", ")))
	return err
}

type connsCloseCommand struct {
	IDs []string `arg:"" optional:"" name:"id" help:"IDs of connections, as they are listed."`
	connsSelection
	All    bool `help:"Close all connections."`
	Limit  int  `placeholder:"N" help:"Close so many at most."`
	DryRun bool `help:"Only say how many would be closed."`
}

// Run closes connections of a running server.
func (k connsCloseCommand) Run(c console) error {
	query := k.query()
	switch selects := len(query) > 0 || k.All; {
	case len(k.IDs) > 0 && selects:
		return usage(errors.New("IDs and a selection would both say what to close: leave one of them out"))
	case len(k.IDs) == 0 && !selects:
		return usage(errors.New("nothing says which connections to close: name IDs, or select with --state, --peer, " +
			"--older, ...; --all means all"))
	}
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if len(k.IDs) > 0 {
		return k.closeByID(ctx, c, client)
	}
	if k.All {
		query.Set("all", "true")
	}
	if k.DryRun {
		query.Set("dry_run", "true")
	}
	if k.Limit > 0 {
		query.Set("limit", strconv.Itoa(k.Limit))
	}
	var done control.Closed
	if _, err := client.Ask(ctx, "POST", "/v1/conns/close", query, &done); err != nil {
		return err
	}
	if k.DryRun {
		_, err = fmt.Fprintf(c.out, "%d would be closed\n", done.Matched)
	} else {
		_, err = fmt.Fprintf(c.out, "%d closed of %d selected\n", done.Closed, done.Matched)
	}
	return err
}

// closeByID closes one after the other, and says of each what came of it.
func (k *connsCloseCommand) closeByID(ctx context.Context, c console, client *control.Client) error {
	var failed []error
	for _, id := range k.IDs {
		method, word := "DELETE", "closed"
		if k.DryRun {
			method, word = "GET", "would be closed"
		}
		if _, err := client.Ask(ctx, method, "/v1/conns/"+url.PathEscape(id), nil, nil); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
			continue
		}
		fmt.Fprintf(c.out, "%s %s\n", id, word)
	}
	return errors.Join(failed...)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// age is a time as short as it tells enough.
func age(d control.Seconds) string {
	switch d := time.Duration(d); {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// size is a number of bytes with the unit that leaves it short.
func size(n uint64) string {
	if n < 10_000 {
		return strconv.FormatUint(n, 10)
	}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len("KMGTPE") {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f%ciB", value, "KMGTPE"[unit-1])
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	found, err := file.Stat()
	return err == nil && found.Mode()&os.ModeCharDevice != 0
}
