// Package drivertest is the suite that every driver must pass: each promise of
// package driver, over real sockets of the loopback.
//
// A driver's own test is one call of Run. The cases use a single thread; the far
// end of each connection is worked by the test itself, in between, so that a
// failure replays. What is random comes from a seed that is printed; set it as
// MYRIAD_SEED to replay.
package drivertest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/myriad-server/myriad/driver"
)

// cases are the promises, each with its test.
var cases = []struct {
	name string
	run  func(*rig)
	room rigRoom
}{
	{name: "echo over socket pairs", run: func(r *rig) { echo(r, 32, pairs) }},
	{name: "echo over TCP", run: func(r *rig) { echo(r, 32, accepted(tcpListener)) }},
	{name: "echo over Unix sockets", run: func(r *rig) { echo(r, 32, accepted(unixListener)) }},
	{name: "echo, one completion a Wait", run: func(r *rig) { echo(r, 8, pairs) }, room: rigRoom{completions: 1}},
	{name: "echo, small blocks", run: func(r *rig) { echo(r, 8, pairs) }, room: rigRoom{blockBytes: 64, blocks: 64}},
	{name: "chaos", run: chaos},
	{name: "chaos, few blocks", run: chaos, room: rigRoom{blockBytes: 256, blocks: 16, completions: 4}},
	{name: "receive once", run: receiveOnce},
	{name: "receive a portion", run: receivePortion},
	{name: "receive the end", run: receiveEnd},
	{name: "receive the end behind a block", run: receiveEndBehindBlock},
	{name: "receive around urgent data", run: receiveUrgent},
	{name: "receive around passed descriptors", run: receiveCut},
	{name: "receive a reset", run: receiveReset},
	{name: "receive a reset behind data", run: receiveResetBehind},
	{name: "one busy connection leaves room for others", run: fairness},
	{name: "empty pool", run: emptyPool, room: rigRoom{blockBytes: 512, blocks: 8}},
	{name: "empty pool, the end needs no block", run: emptyPoolEnd, room: rigRoom{blockBytes: 512, blocks: 2}},
	{name: "accept once", run: acceptOnce},
	{name: "accept many", run: acceptMany},
	{name: "accept at the descriptor limit", run: acceptLimit},
	{name: "connect", run: connect},
	{name: "connect refused", run: connectRefused},
	{name: "connect Unix", run: connectUnix},
	{name: "send nothing", run: sendNothing},
	{name: "send to a slow reader", run: sendSlowly},
	{name: "send pieces to a slow reader", run: sendPieces},
	{name: "send corked", run: sendCorked},
	{name: "send to a peer that leaves", run: sendBroken},
	{name: "lazy does not hurry Wait", run: lazyWaits},
	{name: "lazy comes with anything else", run: lazyComes},
	{name: "lazy failure is reported at once", run: lazyFails},
	{name: "lazy alone fills the driver", run: lazyFull, room: rigRoom{operations: 8}},
	{name: "file", run: fileWhole},
	{name: "file to a slow reader", run: fileSlowly},
	{name: "file of no bytes", run: fileEmpty},
	{name: "file that shrank", run: fileShrunk},
	{name: "file to a peer that leaves", run: fileBroken},
	{name: "splice", run: splice},
	{name: "splice with few pipes, one completion a Wait", run: splice, room: rigRoom{pipes: 1, completions: 1}},
	{name: "splice holds no pipe while it waits", run: spliceWaits},
	{name: "splice more than a pipe holds", run: spliceFull},
	{name: "splice the end and a reset", run: spliceEnd},
	{name: "splice without a pipe", run: spliceStarved, room: rigRoom{pipes: 1}},
	{name: "splice to a slow reader", run: spliceSlowly},
	{name: "splice to a peer that leaves", run: spliceBroken},
	{name: "cancel a splice", run: spliceCanceled},
	{name: "closed with splices in flight", run: spliceInFlight},
	{name: "cancel parked reads", run: cancelReads},
	{name: "cancel parked connect", run: cancelConnect},
	{name: "cancel parked send", run: cancelSend},
	{name: "cancel loses no bytes", run: cancelRace},
	{name: "cancel what is over", run: cancelOver},
	{name: "close after cancel", run: closeAfterCancel},
	{name: "shutdown", run: shutdown},
	{name: "part with a descriptor", run: part},
	{name: "part with what was accepted", run: partAccepted},
	{name: "datagrams of many peers", run: func(r *rig) { datagrams(r, (*rig).datagramSocket) }},
	{name: "datagrams of many Unix sockets", run: func(r *rig) { datagrams(r, unixNames(r)) }},
	{name: "datagrams of a nameless Unix socket, and to a full one", run: datagramsUnanswered},
	{name: "datagrams of a connected socket", run: datagramsConnected},
	{name: "datagrams to a slow reader", run: datagramsSlowly},
	{name: "many datagrams at once", run: datagramsAtOnce},
	{name: "many datagrams at once, connected", run: datagramsAtOnceConnected},
	{name: "many datagrams at once to a slow reader", run: datagramsAtOnceSlowly},
	{name: "many datagrams of several peers", run: datagramsGathered},
	{name: "wait takes its time", run: waitTime},
	{name: "wake", run: wake},
	{name: "wake from many goroutines", run: wakeMany},
	{name: "a collection is not held up", run: collection},
	{name: "full and recovered", run: full, room: rigRoom{operations: 8}},
	{name: "descriptor numbers come again", run: reuse},
	{name: "stale hints", run: stale, room: rigRoom{completions: 1}},
	{name: "closed with operations in flight", run: closeInFlight},
	{name: "a descriptor that is not the driver's", run: foreign},
	{name: "no allocation in an echo turn", run: allocations},
}

// Run checks every promise against the driver of f. Options gives what it is opened
// with; Blocks and Ops are set by the cases.
func Run(t *testing.T, f driver.Factory, options func() driver.Options) {
	if s := f.Probe(); !s.OK {
		t.Skipf("driver %s does not work here: %s; to have it: %s", f.Name, s.Why, s.Fix)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.run(newRig(t, f, options(), c.room))
		})
	}
}

// seed is MYRIAD_SEED, or a new one; it is printed when the test fails.
func seed(t testing.TB) *rand.Rand {
	value := rand.Uint64()
	if text := os.Getenv("MYRIAD_SEED"); text != "" {
		var err error
		if value, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MYRIAD_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to replay: MYRIAD_SEED=%d", value)
		}
	})
	return rand.New(rand.NewPCG(value, 0))
}
