// Package observe is what an operator sees of a running server: the sums of its counters, and the access log.
//
// Nothing here stops a loop. Counters are read from copies that loops publish; lines of the access log go into bounded
// memory, and what does not fit is dropped and counted.
package observe
