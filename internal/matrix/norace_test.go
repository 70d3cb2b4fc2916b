//go:build !race

package matrix

// raced says that the race detector is on.
const raced = false
