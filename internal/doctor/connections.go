package doctor

// connectionChecks are the checks of sockets, their queues and their limits.
func connectionChecks() []Check {
	return []Check{
		processDescriptors,
		systemDescriptors,
		localPorts,
		timeWaitBuckets,
		timeWaitReuse,
		closeWait,
		endedSockets,
		closing,
		orphans,
		acceptQueue,
		backlogCeilings,
		synQueue,
		unansweredDials,
		vanishedPeers,
		retransmits,
		keepAlive,
		tcpMemory,
		socketBuffers,
		windowScaling,
		fastOpen,
		queuedSignals,
		uringAllowed,
	}
}
