// Package servetest is the suite that every serving model must pass, whoever wrote it.
// It serves real sockets on the loopback interface through a model and watches from
// both sides: the clients check every byte, and the handlers check that they are called
// as package conn promises.
//
//	func TestModel(t *testing.T) {
//		servetest.Suite{Model: mine.New(), Site: servetest.Site()}.Run(t)
//	}
package servetest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/myriad-server/myriad/serve"
)

// Suite is what is to be tested.
type Suite struct {
	// Model is the model.
	Model serve.Model
	// Site is the template of the sites that are served: limits, driver, way of
	// accepting. Listeners, hooks and log are the suite's.
	Site serve.Site
	// AtOnce is how many connections the model serves at the same time; as many as
	// Site.Limits.Connections says if zero.
	AtOnce int
}

// Site is a template with limits that suit the suite and any model, and no driver.
func Site() serve.Site {
	return serve.Site{Limits: serve.Limits{
		Loops: 2, Workers: 8, Queue: 8, Connections: 1000,
		BlockBytes: 4096, Blocks: 1024, OutputBytes: 256 << 10, Drain: 5 * time.Second,
	}}
}

// A behaviour is one thing that every model does.
type behaviour struct {
	name  string
	check func(t *testing.T, s Suite)
}

// behaviours in an order in which the first failure says most.
var behaviours = []behaviour{
	{"echo", echo},
	{"addresses", addresses},
	{"half close", halfClose},
	{"half close by the handler", halfCloseByHandler},
	{"both ways", bothWays},
	{"slow reader", slowReader},
	{"pause", pause},
	{"rest byte by byte", restByByte},
	{"rest after resume", restAfterResume},
	{"stuck handler", stuckHandler},
	{"reserve and commit", reserveAndCommit},
	{"blocks", sendBlocks},
	{"files", sendFiles},
	{"file that shrinks", fileShrinks},
	{"output limit", outputLimit},
	{"timers", timers},
	{"timer that repeats", timerRepeats},
	{"post to an idle connection", postToIdle},
	{"posts from many", postsFromMany},
	{"post to a closed connection", postToClosed},
	{"attach", attach},
	{"drain", drain},
	{"drain with a silent peer", drainSilentPeer},
	{"abort", abort},
	{"reset by the peer", resetByPeer},
	{"many at once", manyAtOnce},
	{"churn", churn},
	{"two listeners", twoListeners},
	{"datagrams", datagrams},
	{"datagrams to every address", homes},
	{"datagrams of Unix sockets", unixDatagrams},
	{"datagram sessions", datagramSessions},
	{"unix path", unixPath},
	{"unix abstract", unixAbstract},
	{"dial", dial},
	{"dial in vain", dialInVain},
	{"dial and stop", dialAndStop},
	{"dial at the limits", dialAtLimits},
	{"calls at intervals", every},
	{"move", move},
	{"move in vain", moveInVain},
	{"move under load", moveUnderLoad},
	{"move and stop", moveAndStop},
	{"alive", alive},
	{"evidence", evidence},
	{"limit of connections", connectionLimit},
	{"idle make room", idleMakeRoom},
	{"idle with output", idleWithOutput},
	{"stop", stop},
	{"stop at once", stopUnused},
	{"stop with a backlog", stopBacklog},
	{"stop deadline", stopDeadline},
	{"kill", kill},
	{"listener that cannot open", cannotOpen},
	{"listener comes and goes", beginAndLeave},
	{"listener goes beside another", leaveAmong},
	{"listener goes at a deadline", leaveDeadline},
	{"listener goes with a backlog", leaveBacklog},
	{"listener comes in vain", beginInVain},
	{"listener of datagrams comes and goes", beginDatagrams},
	{"listener goes in a stop", leaveAndStop},
	{"listener is succeeded", succeed},
	{"arrival", arrive},
	{"arrival without a socket", arriveWithout},
	{"arrival at the limits", arriveAtLimits},
	{"departure of idle connections", departIdle},
	{"departure with half a line", departHalf},
	{"departure in vain", departInVain},
	{"departure of tunnels under way", departTunnel},
	{"departure of half a tunnel", departHalfClosed},
	{"listener of datagrams is paused", pausedDatagrams},
	{"departure of datagram sessions", departDatagrams},
	{"descriptors run out", descriptorsRunOut},
}

// Run checks every behaviour, one after the other: each looks for what the model leaves
// behind in the process.
func (s Suite) Run(t *testing.T) {
	t.Helper()
	s.run(t, "")
}

// RunMoving checks the behaviours of connections that leave for another process, and arrive.
func (s Suite) RunMoving(t *testing.T) {
	t.Helper()
	s.run(t, "arrival")
	s.run(t, "departure")
}

// run checks the behaviours whose names begin in one way.
func (s Suite) run(t *testing.T, prefix string) {
	t.Helper()
	if s.AtOnce == 0 {
		s.AtOnce = s.Site.Limits.Connections
	}
	// The runtime's poller keeps descriptors from its first use on.
	warm, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = warm.Close()
	for _, b := range behaviours {
		if !strings.HasPrefix(b.name, prefix) {
			continue
		}
		t.Run(b.name, func(t *testing.T) { b.check(t, s) })
	}
}
