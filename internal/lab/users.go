package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// crew is users that keep one connection each, use it without a look at it, and make another when it has failed.
type crew struct {
	Address  string        `json:"address"`
	Method   string        `json:"method"`
	Users    int           `json:"users"`
	Least    time.Duration `json:"least"` // silence between two requests
	Most     time.Duration `json:"most"`
	Patience time.Duration `json:"patience"`
	Length   time.Duration `json:"length"`
	Seed     uint64        `json:"seed"`
	// each is told of every request, if it is set, by one user at a time.
	each func(began time.Time, took time.Duration, err error)
}

// experience is what a crew has seen.
type experience struct {
	Asked   int            `json:"asked"`
	Failed  int            `json:"failed"`
	Slowest time.Duration  `json:"slowest"`
	Why     map[string]int `json:"why"`
}

// causes is why requests failed, in words, the most frequent cause first.
func (e experience) causes() string {
	var list []string
	for why := range e.Why {
		list = append(list, why)
	}
	slices.SortFunc(list, func(a, b string) int { return e.Why[b] - e.Why[a] })
	for i, why := range list {
		list[i] = fmt.Sprintf("%d %s", e.Why[why], why)
	}
	return strings.Join(list, ", ")
}

// playUsers is the part of a crew, described as JSON.
func playUsers(description string) (e experience, err error) {
	var c crew
	if err := json.Unmarshal([]byte(description), &c); err != nil {
		return e, err
	}
	if c.Users < 1 || c.Most <= c.Least || c.Patience <= 0 || c.Length <= 0 {
		return e, fmt.Errorf("users cannot work like this: %s", description)
	}
	return c.work(context.Background()), nil
}

// work lets the crew ask until its time is over.
func (c crew) work(ctx context.Context) experience {
	ctx, cancel := context.WithTimeout(ctx, c.Length)
	defer cancel()
	total := experience{Why: map[string]int{}}
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range c.Users {
		group.Go(func() {
			c.use(ctx, rand.New(rand.NewPCG(c.Seed, uint64(i))), func(began time.Time, took time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				total.Asked++
				total.Slowest = max(total.Slowest, took)
				if err != nil {
					total.Failed++
					total.Why[err.Error()]++
				}
				if c.each != nil {
					c.each(began, took, err)
				}
			})
		})
	}
	group.Wait()
	return total
}

// use is one user.
func (c crew) use(ctx context.Context, chance *rand.Rand, seen func(time.Time, time.Duration, error)) {
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
			if connection, err = net.DialTimeout("tcp", c.Address, c.Patience); err != nil {
				connection, err = nil, fmt.Errorf("without a connection")
			}
		}
		if err == nil {
			err = c.exchange(connection)
		}
		seen(began, time.Since(began), err)
		if err != nil && connection != nil {
			_ = connection.Close()
			connection = nil
		}
		select {
		case <-time.After(c.Least + time.Duration(chance.Int64N(int64(c.Most-c.Least)))):
		case <-ctx.Done():
		}
	}
}

// exchange asks once. What goes wrong is told without addresses, so that it can be counted.
func (c crew) exchange(connection net.Conn) error {
	_ = connection.SetDeadline(time.Now().Add(c.Patience))
	_, err := fmt.Fprintf(connection, "%s / HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\nhi", c.Method)
	if err != nil {
		return fmt.Errorf("not written")
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return fmt.Errorf("not answered")
		}
		return fmt.Errorf("cut off")
	}
	defer func() { _ = response.Body.Close() }()
	if _, err = io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("cut off")
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered with %d", response.StatusCode)
	}
	return nil
}
