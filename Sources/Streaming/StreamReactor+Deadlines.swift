import Polling

extension StreamReactor {
    /// Sees to it that a stream is looked at when it is next due.
    ///
    /// Nothing is done when it is looked at earlier anyway.
    func schedule(_ place: Int) {
        let due = nextDue(place)
        guard due < slots[place].scheduledFor else { return }
        slots[place].scheduledFor = due
        deadlines.insert(UInt32(place), due: due)
        arm()
    }

    private func nextDue(_ place: Int) -> Tick {
        let slot = slots[place]
        return switch slot.phase {
        case .free: .never
        case .lingering: slot.waitingSince + Self.lingering
        case .ending: slot.waitingSince + Self.stallTimeout
        case .open:
            min(
                slot.expiresAt, slot.livesUntil,
                slot.isBlocked ? slot.waitingSince + Self.stallTimeout : signOfLifeDue(place))
        }
    }

    /// When the next heartbeat is due, or the next ping.
    ///
    /// The last write was somewhere in its tick, and a heartbeat does not come early.
    private func signOfLifeDue(_ place: Int) -> Tick {
        slots[place].wire == .webSocket
            ? conversations[UInt32(place)]?.nextPing ?? .never : slots[place].lastWrite + heartbeatInterval + 1
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
        while let (place, due) = deadlines.popDue(now: now) {
            let place = Int(place)
            guard slots[place].scheduledFor == due else { continue }
            slots[place].scheduledFor = .never
            look(at: place, now: now)
            if slots[place].phase != .free { schedule(place) }
        }
        arm()
    }

    /// Does what is due for one stream.
    private func look(at place: Int, now: Tick) {
        let slot = slots[place]
        switch slot.phase {
        case .free: return
        case .lingering:
            if now >= slot.waitingSince + Self.lingering { closeAndTell(place, reasonOfEnd(place)) }
        case .ending:
            if now >= slot.waitingSince + Self.stallTimeout { closeAndTell(place, .stalled) }
        case .open:
            if now >= slot.expiresAt {
                slots[place].expiresAt = .never
                delegate?.streamExpired(id(at: place))
            } else if now >= slot.livesUntil {
                slots[place].livesUntil = .never
                delegate?.streamOutlived(id(at: place))
            } else if slot.isBlocked {
                if now >= slot.waitingSince + Self.stallTimeout { closeAndTell(place, .stalled) }
            } else if now >= signOfLifeDue(place) {
                guard slot.wire != .webSocket else { return ping(place, now: now) }
                metrics.heartbeat()
                switch start(heartbeat, at: place, now: now) {
                case .sent: break
                case .started, .refused: delegate?.streamFilled(id(at: place))
                case .gone: closeAndTell(place, .broken)
                }
            }
        }
    }
}
