// Command threetier runs three tiers on this machine: Myriad before an application before Redis. It shows what a
// connection for each request costs, on either hop, against connections that are kept.
//
//	go run ./examples/threetier                                  # everything kept; http://127.0.0.1:8080/test/7
//	go run ./examples/threetier -pool=false                      # the application connects to Redis for each request
//	go run ./examples/threetier -keepalive=false                 # Myriad connects to the application for each request
//	go run ./examples/threetier -app flask                       # the application is Flask under gunicorn
//	go run ./examples/threetier -requests 20000 -clients 32      # load, a table, and the end
//
// GET /test/{n} sets a key and gets it again. It needs redis-server, and for Flask the Debian packages gunicorn,
// python3-flask and python3-redis. docs/threetier.md tells what to look at.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options is the command line.
type options struct {
	listen    string
	app       string
	myriad    string
	pool      bool
	keepalive bool
	requests  int
	clients   int
}

const within = 10 * time.Minute

func main() {
	if len(os.Args) > 1 && os.Args[1] == "app" { // the application tier, started by the example itself
		os.Exit(serveApp(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8080", "where Myriad listens")
	flag.StringVar(&o.app, "app", "go", "the application: go or flask")
	flag.StringVar(&o.myriad, "myriad", "", "the binary of Myriad; built if empty")
	flag.BoolVar(&o.pool, "pool", true, "the application keeps connections to Redis")
	flag.BoolVar(&o.keepalive, "keepalive", true, "Myriad keeps connections to the application")
	flag.IntVar(&o.requests, "requests", 0, "make so many requests, print their price, and end; 0: serve on")
	flag.IntVar(&o.clients, "clients", 16, "clients that make the requests")
	flag.Parse()
	if flag.NArg() > 0 || o.app != "go" && o.app != "flask" || o.clients < 1 || o.requests < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "threetier:", err)
		os.Exit(1)
	}
}

// run starts the tiers from the back to the front, and ends them from the front to the back.
func run(ctx context.Context, o options, out *os.File) (err error) {
	dir, err := os.MkdirTemp("", "threetier")
	if err != nil {
		return err
	}
	t := &tiers{options: o, dir: dir}
	defer func() { err = errors.Join(err, t.end(), os.RemoveAll(dir)) }()
	for _, start := range []func(context.Context) error{t.startRedis, t.startApp, t.startMyriad} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	if o.requests == 0 {
		fmt.Fprintf(out, "serving http://%s/test/{n}: myriad, %s, redis; pool %v, keepalive %v\n", o.listen, o.app, o.pool,
			o.keepalive)
		<-ctx.Done()
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r, err := t.measure(bounded)
	if err != nil {
		return err
	}
	r.print(out, o)
	if r.failed > 0 {
		return fmt.Errorf("%d of %d requests failed, such as: %w", r.failed, o.requests, r.fault)
	}
	return nil
}
