//go:build race

package ws_test

// race says that the race detector is on, which makes everything some ten times slower.
const race = true
