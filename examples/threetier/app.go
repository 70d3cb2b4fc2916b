package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
)

// application is the middle tier in Go: an ordinary net/http server.
type application struct {
	store *redis.Pool
	kept  bool
	calls atomic.Int64
}

// serveApp is the process of the application.
func serveApp(arguments []string) int {
	var listen, store string
	var pool bool
	flags := flag.NewFlagSet("app", flag.ExitOnError)
	flags.StringVar(&listen, "listen", "", "address")
	flags.StringVar(&store, "redis", "", "address of Redis")
	flags.BoolVar(&pool, "pool", true, "keep connections to Redis")
	_ = flags.Parse(arguments)
	dial := func() (redis.Conn, error) {
		return redis.Dial("tcp", store, redis.DialConnectTimeout(2*time.Second), redis.DialReadTimeout(2*time.Second))
	}
	a := &application{kept: pool, store: &redis.Pool{MaxIdle: 64, IdleTimeout: time.Minute, Dial: dial}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /test/{n}", a.test)
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(bounded)
	})
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "app:", err)
		return 1
	}
	return 0
}

// test sets a key and gets it again.
func (a *application) test(w http.ResponseWriter, r *http.Request) {
	store, err := a.connection()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = store.Close() }() // of a pooled one: it goes back
	key := "test:" + r.PathValue("n")
	if _, err := store.Do("SET", key, a.calls.Add(1)); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	value, err := redis.Int64(store.Do("GET", key))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%s = %d\n", key, value)
}

// connection is one from the pool, or a fresh one for this request alone.
func (a *application) connection() (redis.Conn, error) {
	if a.kept {
		return a.store.Get(), nil
	}
	return a.store.Dial()
}
