package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// crew is users that keep one connection each, use it without a look at it, and make another when it has failed.
type crew struct {
	address     string
	method      string
	users       int
	least, most time.Duration // silence between two requests
	patience    time.Duration
	length      time.Duration
	seed        uint64
}

// experience is what a crew has seen.
type experience struct {
	asked, failed int
	slowest       time.Duration
	why           map[string]int
}

// work lets the crew ask until its time is over.
func (c crew) work(ctx context.Context) experience {
	ctx, cancel := context.WithTimeout(ctx, c.length)
	defer cancel()
	total := experience{why: map[string]int{}}
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range c.users {
		group.Go(func() {
			one := c.use(ctx, rand.New(rand.NewPCG(c.seed, uint64(i))))
			mu.Lock()
			defer mu.Unlock()
			total.asked, total.failed = total.asked+one.asked, total.failed+one.failed
			total.slowest = max(total.slowest, one.slowest)
			for why, n := range one.why {
				total.why[why] += n
			}
		})
	}
	group.Wait()
	return total
}

// use is one user.
func (c crew) use(ctx context.Context, chance *rand.Rand) experience {
	e := experience{why: map[string]int{}}
	var connection net.Conn
	defer func() {
		if connection != nil {
			_ = connection.Close()
		}
	}()
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		if connection == nil {
			if connection, err = net.DialTimeout("tcp", c.address, c.patience); err != nil {
				connection = nil
			}
		}
		if err == nil {
			err = c.exchange(connection)
		}
		e.asked++
		e.slowest = max(e.slowest, time.Since(began))
		if err != nil {
			e.failed++
			e.why[err.Error()]++
			if connection != nil {
				_ = connection.Close()
				connection = nil
			}
		}
		select {
		case <-time.After(c.least + time.Duration(chance.Int64N(int64(c.most-c.least)))):
		case <-ctx.Done():
		}
	}
	return e
}

// exchange asks once. What goes wrong is told without addresses, so that it can be counted.
func (c crew) exchange(connection net.Conn) error {
	_ = connection.SetDeadline(time.Now().Add(c.patience))
	_, err := fmt.Fprintf(connection, "%s / HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\nhi", c.method)
	if err != nil {
		return fmt.Errorf("the request could not be written")
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return fmt.Errorf("no answer")
		}
		return fmt.Errorf("cut off")
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
