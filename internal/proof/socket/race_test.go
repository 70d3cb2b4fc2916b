//go:build race

package socket

// raceDetector tells whether the race detector is on.
const raceDetector = true
