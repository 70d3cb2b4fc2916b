//go:build !race

package proof

// raceDetector tells whether the race detector is on.
const raceDetector = false
