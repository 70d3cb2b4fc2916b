package doctor

// Checks are all checks there are, in the order of docs/tuning.md. A new one is a line here, or in
// connectionChecks.
func Checks() []Check {
	return append(connectionChecks(), []Check{
		conntrackTable,
		conntrackChains,
		conntrackTimeouts,
		loopbackPacing,
		pacingQdisc,
		packetBacklog,
		softnetDrops,
		softnetSqueezes,
		receiveSteering,
		flowSteering,
		sendSteering,
		interruptSpread,
		cardRings,
		cardCoalescing,
		cardOffloads,
		clockSource,
		groupMemory,
		groupTasks,
		groupProcessor,
		swapInUse,
		hugePages,
		overcommit,
		memoryMaps,
		descriptorCeiling,
	}...)
}

// Quick leaves out the checks that wait or list sockets: what remains takes milliseconds.
func Quick(checks []Check) []Check {
	var quick []Check
	for _, c := range checks {
		if c.Needs&(NeedsRates|NeedsSockets) == 0 {
			quick = append(quick, c)
		}
	}
	return quick
}
