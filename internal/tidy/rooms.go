package tidy

import "strings"

// outside is the rank of what nobody imports and what may therefore import everything.
const outside = 99

// A room is one row of the import table: the packages of a rank. A pattern is a folder; its last part may be * for
// any one name, or ... for everything below. An exact row wins over a pattern.
type room struct {
	rank    int
	pattern string
}

// rooms is the import table of docs/ARCHITECTURE.md. A package imports lower ranks only, never its own.
var rooms = []room{
	{0, "buf"},
	{0, "balance"},
	{0, "pool"},
	{0, "internal/sys"},
	{0, "internal/wheel"},
	{0, "internal/meter"},
	{0, "internal/config"},
	{0, "internal/lab/figure"},

	{1, "driver"},
	{1, "conn"},
	{1, "proto/*"},
	{1, "proto/ws/wstest"},
	{1, "internal/listen"},
	{1, "internal/proc"},
	{1, "internal/bus"},
	{1, "internal/crowd"},

	{2, "driver/emulate"},
	{2, "driver/drivertest"},
	{2, "loop"},
	{2, "web"},
	{2, "upstream"},
	{2, "internal/handover"},

	{3, "driver/*"},
	{3, "serve"},
	{3, "web/*"},
	{3, "stream"},
	{3, "internal/secure"},

	{4, "serve/*"},
	{4, "internal/front"},

	{5, "internal/standard"},
	{5, "internal/observe"},
	{5, "internal/sockets"},

	{6, "internal/app"},
	{6, "internal/load"},

	{7, "internal/supervise"},
	{7, "internal/control"},
	{7, "internal/dash"},
	{7, "internal/dash/browser"},
	{7, "internal/lab"},
	{7, "internal/doctor"},
	{7, "internal/faults"},
	{7, "internal/app/apptest"},
	{7, "."},

	{8, "cmd/myriad"},

	{outside, "examples/..."},
	{outside, "internal/lab/*"}, // experiments, each a command
	{outside, "internal/tidy"},
	{outside, "internal/matrix/..."},
	{outside, "internal/proof/..."},
}

// suites are the packages that exist to test others: any test may import them, whatever its rank.
var suites = []string{
	"driver/drivertest", "driver/sim", "proto/ws/wstest", "serve/servetest", "web/webtest", "internal/faults",
	"internal/app/apptest", "internal/dash/browser",
}

// lastEngineRank is the highest rank of the engine: public packages up to it stay free of other people's modules, also
// through what they import. The façade above it wires the engine to the product and is held to its own imports alone.
const lastEngineRank = 4

// rankOf gives the rank of the package in a folder.
func rankOf(dir string) (rank int, known bool) {
	for _, r := range rooms {
		if r.pattern == dir {
			return r.rank, true
		}
	}
	for _, r := range rooms {
		if parent, ok := strings.CutSuffix(r.pattern, "/*"); ok {
			name, below := strings.CutPrefix(dir, parent+"/")
			if below && !strings.Contains(name, "/") {
				return r.rank, true
			}
		}
		if parent, ok := strings.CutSuffix(r.pattern, "/..."); ok {
			if dir == parent || strings.HasPrefix(dir, parent+"/") {
				return r.rank, true
			}
		}
	}
	return 0, false
}

// public tells whether the package can be imported by other modules.
func public(dir string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		if part == "internal" || part == "cmd" || part == "examples" {
			return false
		}
	}
	return true
}
