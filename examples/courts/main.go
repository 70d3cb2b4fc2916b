// Command courts answers GET /courts/{id}: it joins a court from a store inside the program with the weather there, for
// which it has to ask another server that takes half a second. It shows what waiting costs, in three ways of waiting:
//
//	go run ./examples/courts -how weather -listen 127.0.0.1:8081    # the other server
//	go run ./examples/courts -how blocking -weather 127.0.0.1:8081  # 200 threads, each waits for one answer
//	go run ./examples/courts -how async -weather 127.0.0.1:8081     # a goroutine waits, and no thread
//	go run ./examples/courts -how loop -weather 127.0.0.1:8081      # one event loop, told when the answer is there
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/myriad-server/myriad"
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
)

//go:embed courts.json
var content []byte

// court is a row of the store.
type court struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Location string `json:"location"`
}

// answer is a court with its weather.
type answer struct {
	court
	Weather string `json:"weather"`
}

// service is what all three ways share.
type service struct {
	courts  map[int]court
	weather string
	client  http.Client
}

func newService(weather string) (*service, error) {
	var list []court
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	s := &service{courts: map[int]court{}, weather: weather}
	for _, c := range list {
		s.courts[c.ID] = c
	}
	s.client = http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16384, IdleConnTimeout: time.Minute}, Timeout: 30 * time.Second,
	}
	return s, nil
}

// find reads the id at the end of a path.
func (s *service) find(path string) (court, bool) {
	id, err := strconv.Atoi(strings.TrimPrefix(path, "/courts/"))
	c, ok := s.courts[id]
	return c, ok && err == nil
}

// join asks for the weather, and waits for it.
func (s *service) join(c court) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		"http://"+s.weather+"/"+c.Location, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer{c, string(text)})
}

// result is what a worker has found.
type result struct {
	text []byte
	err  error
}

// blocking has a number of threads, each of which waits for one answer at a time.
func (s *service) blocking(threads int) http.Handler {
	type job struct {
		court court
		done  chan result
	}
	jobs := make(chan job)
	for range threads {
		go func() {
			runtime.LockOSThread() // the thread waits with the worker and does nothing else
			for j := range jobs {
				text, err := s.join(j.court)
				j.done <- result{text, err}
			}
		}()
	}
	return s.handler(func(c court) ([]byte, error) {
		j := job{c, make(chan result, 1)}
		jobs <- j
		r := <-j.done
		return r.text, r.err
	})
}

func (s *service) handler(join func(court) ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := s.find(r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		text, err := join(c)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	})
}

// loop takes a request on the event loop, lets go of it, and answers there when the weather has come.
func (s *service) loop(x *web.Exchange) {
	c, ok := s.find(string(x.Path()))
	if !ok {
		x.Fail(http.StatusNotFound)
		return
	}
	back := x.Ref()
	go func() {
		text, err := s.join(c)
		back.Post(func(conn.Conn) {
			if err != nil {
				x.Fail(http.StatusBadGateway)
				return
			}
			x.Add("Content-Type", "application/json")
			x.Reply(text)
		})
	}()
}

// weatherServer answers everything after a delay.
func weatherServer(delay time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(delay):
			fmt.Fprintf(w, "sunny at the %s", strings.TrimPrefix(r.URL.Path, "/"))
		case <-r.Context().Done():
		}
	})
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	weather := flag.String("weather", "127.0.0.1:8081", "where the weather is asked for")
	how := flag.String("how", "loop", "blocking, async, loop, or weather: the server that is asked")
	threads := flag.Int("threads", 200, "threads of blocking")
	delay := flag.Duration("delay", 500*time.Millisecond, "how long the weather takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *how, *listen, *weather, *threads, *delay)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "courts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, how, listen, weather string, threads int, delay time.Duration) error {
	s, err := newService(weather)
	if err != nil {
		return err
	}
	switch how {
	case "loop":
		server := myriad.Server{Listen: []string{listen}, HTTP: web.HandlerFunc(s.loop), Loops: 1, Drain: time.Second}
		return server.Serve(ctx)
	case "blocking":
		return serve(ctx, listen, s.blocking(threads))
	case "async":
		return serve(ctx, listen, s.handler(s.join))
	case "weather":
		return serve(ctx, listen, weatherServer(delay))
	}
	return fmt.Errorf("there is no way %q; there are blocking, async, loop, weather", how)
}

func serve(ctx context.Context, address string, h http.Handler) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}
