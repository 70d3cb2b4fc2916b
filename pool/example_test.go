package pool_test

import (
	"fmt"

	"github.com/myriad-server/myriad/pool"
)

func Example() {
	idle := pool.New[string, int](2, 100) // two for each server, a hundred in all
	server := idle.Shelf("10.0.0.1:80")
	first, _, _ := server.Put(1)
	server.Put(2)
	_, out, full := server.Put(3)
	fmt.Println("fell out:", out, full)
	_, there := idle.Remove(first)
	fmt.Println("the first is there:", there)
	latest, _ := server.Take()
	fmt.Println("taken:", latest)
	// Output:
	// fell out: 1 true
	// the first is there: false
	// taken: 3
}
