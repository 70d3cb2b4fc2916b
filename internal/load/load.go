// Package load puts a server under load and tells what came of it, from one connection to a million.
//
// Each worker is a loop of its own on one thread. In a closed loop every connection asks, waits for the answer and asks
// again; in an open loop requests become due by a schedule, whether or not the server keeps up, and are given to
// whichever connection is free. A latency is counted from when its request was due: a server that stands still for a
// second makes a second's worth of requests late, and all of them are seen.
//
// What is claimed is counted: every request that was begun ends as an answer or as an error with a cause, and
// connections are counted at both ends, by the kernel's own list of sockets.
package load
