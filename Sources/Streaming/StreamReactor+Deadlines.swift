import Polling

extension StreamReactor {
    /// Sees to it that a stream is looked at when it is next due.
    ///
    /// Nothing is done when it is looked at earlier anyway.
    func schedule(_ slot: Int) {
        let due = nextDue(slot)
        guard due < slots[slot].scheduledFor else { return }
        slots[slot].scheduledFor = due
        deadlines.insert(UInt32(slot), due: due)
        arm()
    }

    private func nextDue(_ slot: Int) -> Tick {
        let entry = slots[slot]
        return switch entry.phase {
        case .free: .never
        case .lingering: entry.waitingSince + Self.lingering
        case .ending: entry.waitingSince + Self.stallTimeout
        case .open:
            min(
                entry.expiresAt, entry.livesUntil,
                entry.isBlocked ? entry.waitingSince + Self.stallTimeout : signOfLifeDue(slot))
        }
    }

    /// When the next heartbeat is due, or the next ping.
    ///
    /// The last write was somewhere in its tick, and a heartbeat does not come early.
    private func signOfLifeDue(_ slot: Int) -> Tick {
        slots[slot].wire == .webSocket
            ? conversations[UInt32(slot)]?.nextPing ?? .never : slots[slot].lastWrite + heartbeatInterval + 1
    }

    /// Sets the one timer to the earliest deadline.
    private func arm() {
        guard let due = deadlines.next else { return }
        if let timer {
            if timer.due <= due { return }
            poller.cancelDeadline(timer.id)
        }
        let id = poller.schedule(at: moment(due)) { [weak self] in self?.assumeIsolated { $0.deadlineCame() } }
        timer = (id, due)
    }

    private func deadlineCame() {
        timer = nil
        let now = now()
        while let (slot, due) = deadlines.popDue(now: now) {
            let slot = Int(slot)
            guard slots[slot].scheduledFor == due else { continue }
            slots[slot].scheduledFor = .never
            look(at: slot, now: now)
            if slots[slot].phase != .free { schedule(slot) }
        }
        arm()
    }

    /// Does what is due for one stream.
    private func look(at slot: Int, now: Tick) {
        let entry = slots[slot]
        switch entry.phase {
        case .free: return
        case .lingering:
            if now >= entry.waitingSince + Self.lingering { closeAndTell(slot, reasonOfEnd(slot)) }
        case .ending:
            if now >= entry.waitingSince + Self.stallTimeout { closeAndTell(slot, .stalled) }
        case .open:
            if now >= entry.expiresAt {
                slots[slot].expiresAt = .never
                delegate?.streamExpired(id(at: slot))
            } else if now >= entry.livesUntil {
                slots[slot].livesUntil = .never
                delegate?.streamOutlived(id(at: slot))
            } else if entry.isBlocked {
                if now >= entry.waitingSince + Self.stallTimeout { closeAndTell(slot, .stalled) }
            } else if now >= signOfLifeDue(slot) {
                guard entry.wire != .webSocket else { return ping(slot, now: now) }
                metrics.heartbeat()
                switch start(heartbeat, at: slot, now: now) {
                case .sent: break
                case .started, .refused: delegate?.streamFilled(id(at: slot))
                case .gone: closeAndTell(slot, .broken)
                }
            }
        }
    }
}
