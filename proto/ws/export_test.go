package ws

// DeflatedMost is deflatedMost, which the oracle of the fuzz target has to know.
func DeflatedMost(n int64) uint64 { return uint64(deflatedMost(n)) }
