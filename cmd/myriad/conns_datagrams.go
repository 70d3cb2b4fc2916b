package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/myriad-server/myriad/internal/control"
)

type connsDatagramsCommand struct {
	Admin    string        `placeholder:"ADDR" help:"Where the server's admin API is, such as unix:PATH."`
	Peer     string        `placeholder:"IP" help:"Clients at an address, or in a range such as 10.0.0.0/8."`
	Listener string        `placeholder:"ADDR" help:"Of one listener."`
	Older    time.Duration `placeholder:"TIME" help:"At least so old, such as 5m."`
	Idle     time.Duration `placeholder:"TIME" help:"Nothing has happened for so long."`
	Limit    int           `default:"50" help:"How many."`
	Offset   int           `help:"How many to leave out at the top."`
	JSON     bool          `help:"Print JSON, as the API answers it."`
}

// Run lists the sessions of datagrams of a running server.
func (k connsDatagramsCommand) Run(c console) error {
	client, err := control.Dial(k.Admin)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(k.Limit)}, "offset": {strconv.Itoa(k.Offset)}}
	for name, value := range map[string]string{"peer": k.Peer, "listener": k.Listener} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]time.Duration{"older": k.Older, "idle": k.Idle} {
		if value != 0 {
			query.Set(name, value.String())
		}
	}
	var page control.SessionList
	text, err := client.Ask(context.Background(), "GET", "/v1/sessions", query, &page)
	if err != nil {
		return err
	}
	if k.JSON {
		_, err := c.out.Write(text)
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tLISTENER\tPEER\tENDPOINT\tAGE\tQUIET\tRECEIVED\tBYTES\tSENT\tBYTES")
	for i := range page.Sessions {
		o := &page.Sessions[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\n", o.ID, o.Listener, orDash(o.Peer),
			orDash(o.Endpoint), age(o.Age), age(o.Quiet), o.Received, size(o.ReceivedBytes), o.Sent, size(o.SentBytes))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d shown of %d selected of %d open\n", len(page.Sessions), page.Matched, page.Open)
	return err
}
