package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// result is what a number of requests cost.
type result struct {
	took        time.Duration
	failed      int64
	fault       error // one of them
	appWaits    int   // connections to the application in TIME_WAIT
	redisWaits  int   // and to Redis
	connections int   // that Redis was asked for
}

// measure makes the requests, each client one at a time over a connection that it keeps.
func (t *tiers) measure(ctx context.Context) (*result, error) {
	store, err := redis.Dial("tcp", t.redis)
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	asked, err := connectionsOf(store)
	if err != nil {
		return nil, err
	}
	r := &result{}
	begin := time.Now()
	t.load(ctx, r)
	r.took = time.Since(begin)
	if r.appWaits, err = timeWait(t.inner); err != nil {
		return nil, err
	}
	if r.redisWaits, err = timeWait(t.redis); err != nil {
		return nil, err
	}
	now, err := connectionsOf(store)
	if err != nil {
		return nil, err
	}
	r.connections = now - asked
	return r, nil
}

func (t *tiers) load(ctx context.Context, r *result) {
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: t.clients, MaxConnsPerHost: t.clients},
		Timeout:   10 * time.Second,
	}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var once sync.Once
	var group sync.WaitGroup
	for range t.clients {
		group.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1)
				if n > int64(t.requests) {
					return
				}
				if err := ask(ctx, client, fmt.Sprintf("http://%s/test/%d", t.listen, n), n); err != nil {
					atomic.AddInt64(&r.failed, 1)
					once.Do(func() { r.fault = err })
				}
			}
		})
	}
	group.Wait()
}

// ask makes one request and looks at the answer.
func ask(ctx context.Context, client *http.Client, url string, n int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && (response.StatusCode != 200 || !strings.HasPrefix(string(body), fmt.Sprintf("test:%d = ", n))) {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

// connectionsOf is how many connections Redis has accepted.
func connectionsOf(store redis.Conn) (int, error) {
	info, err := redis.String(store.Do("INFO", "stats"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if number, ok := strings.CutPrefix(strings.TrimSpace(line), "total_connections_received:"); ok {
			return strconv.Atoi(number)
		}
	}
	return 0, errors.New("redis does not say how many connections it has accepted")
}

// timeWait is how many connections with this address on either end are in TIME_WAIT.
func timeWait(address string) (int, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	const state = "06" // TIME_WAIT, as the kernel numbers states
	end := fmt.Sprintf(":%04X", number)
	n := 0
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // number, local address, remote address, state, ...
		if len(f) > 3 && f[3] == state && (strings.HasSuffix(f[1], end) || strings.HasSuffix(f[2], end)) {
			n++
		}
	}
	return n, nil
}

func (r *result) print(out io.Writer, o options) {
	fmt.Fprintf(out, "application              %s\n", o.app)
	fmt.Fprintf(out, "kept: myriad to app      %v\n", o.keepalive)
	fmt.Fprintf(out, "kept: app to redis       %v\n", o.pool)
	fmt.Fprintf(out, "requests, clients        %d, %d\n", o.requests, o.clients)
	fmt.Fprintf(out, "failed                   %d\n", r.failed)
	fmt.Fprintf(out, "requests a second        %.0f\n", float64(o.requests)/r.took.Seconds())
	fmt.Fprintf(out, "connections to redis     %d\n", r.connections)
	fmt.Fprintf(out, "TIME_WAIT, app           %d\n", r.appWaits)
	fmt.Fprintf(out, "TIME_WAIT, redis         %d\n", r.redisWaits)
}
