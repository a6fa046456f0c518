import DequeModule
import Domain

/// The table of watchers, and the list of those of each session that runs through it.
extension HubStateMachine {
    func id(at place: Int) -> WatcherID { WatcherID(place: UInt32(place), generation: watchers[place].generation) }

    func place(of id: WatcherID) -> Int? {
        let place = Int(id.place)
        guard place < watchers.count, watchers[place].generation == id.generation, watchers[place].phase != .free
        else { return nil }
        return place
    }

    mutating func markBehind(_ place: Int) {
        guard !watchers[place].isBehind else { return }
        watchers[place].isBehind = true
        if watchers[place].isReady { behind.append(id(at: place)) }
    }

    /// Takes a watcher out of what it takes part in.
    mutating func leave(_ place: Int) {
        guard let session = watchers[place].session else { return forgetFollower(place) }
        if watchers[place].phase == .begun { watched[session]?.begun -= 1 }
        let (previous, next) = (watchers[place].previous, watchers[place].next)
        if next >= 0 { watchers[Int(next)].previous = previous }
        if previous >= 0 {
            watchers[Int(previous)].next = next
        } else if next >= 0 {
            watched[session]?.first = next
        } else {
            watched[session] = nil
        }
    }

    mutating func link(_ place: Int, to session: SessionID) {
        var entry = watched[session] ?? Watched()
        watchers[place].next = entry.first
        if entry.first >= 0 { watchers[Int(entry.first)].previous = Int32(place) }
        entry.first = Int32(place)
        watched[session] = entry
    }

    /// The watchers of a session.
    func watchers(of session: SessionID) -> [WatcherID] {
        var ids: [WatcherID] = []
        var place = Int(watched[session]?.first ?? -1)
        while place >= 0 {
            ids.append(id(at: place))
            place = Int(watchers[place].next)
        }
        return ids
    }
}
