//go:build !race

package ws_test

// race says that the race detector is on.
const race = false
