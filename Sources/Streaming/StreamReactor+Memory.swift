import CMemory
import Polling

extension StreamReactor {
    /// For the process: it is set once, by whoever makes the first reactor.
    static let largeBlocksAreApart: Void = cmemory_keep_large_blocks_apart()

    /// Opening many streams takes memory for their requests, and the allocator keeps what comes free: once such a burst is
    /// over, it is given back.
    func countChange() {
        changesSinceTrim += 1
        guard changesSinceTrim >= 500, !isTrimDue else { return }
        isTrimDue = true
        lookForEndOfBurst(since: changesSinceTrim)
    }

    private func lookForEndOfBurst(since before: Int) {
        poller.schedule(at: poller.clock.now + .seconds(2)) { [weak self] in
            self?.assumeIsolated { reactor in
                guard reactor.changesSinceTrim == before else {
                    return reactor.lookForEndOfBurst(since: reactor.changesSinceTrim)
                }
                reactor.changesSinceTrim = 0
                reactor.isTrimDue = false
                // Not structured: it takes milliseconds that no stream should wait for, and nobody waits for its end.
                Task.detached { cmemory_trim() }
            }
        }
    }
}
