package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// Stage is a part of a run in which requests become due at a rate that goes evenly from one value to another.
type Stage struct {
	From, To float64 // requests a second
	For      time.Duration
}

// mass is how many requests become due in the first t seconds of the stage.
func (s Stage) mass(t float64) float64 {
	length := s.For.Seconds()
	return s.From*t + (s.To-s.From)*t*t/(2*length)
}

// reach is when so many requests have become due, in seconds from the beginning of the stage. There are as many.
func (s Stage) reach(mass float64) float64 {
	a := (s.To - s.From) / (2 * s.For.Seconds())
	root := math.Sqrt(max(0, s.From*s.From+4*a*mass))
	if s.From+root == 0 {
		return 0
	}
	return 2 * mass / (s.From + root) // the form of the solution that is exact for a == 0, too
}

// schedule tells when requests become due. Constant arrivals are those at which the rate, added up, reaches the next
// whole number; with Poisson arrivals the steps are random with the mean 1, which is the same process at any rate.
type schedule struct {
	stages []Stage
	share  float64 // of all workers' requests
	random *rand.Rand
	stage  int
	base   float64 // seconds: when the stage begins
	done   float64 // mass of the stages before
	at     float64 // mass of the request that is next
	next   int64   // nanoseconds; ended if there is none
}

const ended = math.MaxInt64

// newSchedule is the part of worker i of n. A nil random source is for constant arrivals, those of the workers evenly
// between each other.
func newSchedule(stages []Stage, i, n int, random *rand.Rand) *schedule {
	s := &schedule{stages: stages, share: 1 / float64(n), random: random}
	s.at = float64(i)/float64(n) - 1 + 1/float64(n) // the first of the first worker is due after one step of all
	if random != nil {
		s.at = 0
	}
	s.advance()
	return s
}

// advance finds the next due time.
func (s *schedule) advance() {
	step := 1.0
	if s.random != nil {
		step = s.random.ExpFloat64()
	}
	s.at += step
	for s.stage < len(s.stages) {
		stage := s.stages[s.stage]
		mass := stage.mass(stage.For.Seconds()) * s.share
		if s.at-s.done <= mass*(1+1e-12) {
			t := s.base + stage.reach((s.at-s.done)/s.share)
			s.next = int64(t * 1e9)
			return
		}
		s.done += mass
		s.base += stage.For.Seconds()
		s.stage++
	}
	s.next = ended
}

// length is how long all stages are together, in nanoseconds.
func (s *schedule) length() int64 { return int64(stagesLength(s.stages)) }

// backlog holds the due times of requests that no connection was free for, oldest first, up to a limit.
type backlog struct {
	times []int64
	head  int
	n     int
}

func newBacklog(limit int) *backlog { return &backlog{times: make([]int64, limit)} }

// put reports false when the backlog is full.
func (b *backlog) put(due int64) bool {
	if b.n == len(b.times) {
		return false
	}
	b.times[(b.head+b.n)%len(b.times)] = due
	b.n++
	return true
}

func (b *backlog) take() (due int64, ok bool) {
	if b.n == 0 {
		return 0, false
	}
	due = b.times[b.head]
	b.head = (b.head + 1) % len(b.times)
	b.n--
	return due, true
}
