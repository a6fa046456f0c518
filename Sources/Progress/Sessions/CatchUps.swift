import DequeModule
import Domain

/// The reads for watchers that have missed something: the right and the state of each, in one database snapshot.
///
/// A slow client or a change of rights therefore costs a read, but never a wrong frame or a backlog.
struct CatchUps {
    /// What an answer leads to.
    enum Action {
        case deliver(Delivery)
        case revoke(WatcherRequest)
    }

    /// Whether a watcher of one session has missed something.
    private enum Member: UInt8 {
        /// It gets the news of its session. Goes to ``behind`` or ``queued``.
        case current
        /// It has missed something, and its socket has no room. Goes to ``queued``.
        case behind
        /// It waits for a catch-up. Goes to ``reading``, or back to ``behind`` if the socket has no room.
        case queued
        /// The catch-up under way reads for it. Goes to ``current``, to ``behind`` if the socket has no room, or to
        /// ``queued`` if the hub cannot use the answer.
        case reading
    }

    private var members = Column(initial: Member.current)
    private var queue: Deque<WatcherID> = []
    /// The watchers of the catch-up under way, and the number of suspensions when it began.
    private var underWay: (requests: [WatcherRequest], suspensions: Int)?
    /// The largest number of watchers in one read.
    private let limit: Int

    /// The memory of one watcher in this sub-machine, in bytes.
    static let bytesPerWatcher = MemoryLayout<Member>.stride

    init(limit: Int) { self.limit = limit }

    mutating func begin(_ id: WatcherID) { members[Int(id.slot)] = .current }

    func isBehind(_ id: WatcherID) -> Bool { members[Int(id.slot)] != .current }

    /// A watcher has missed something.
    mutating func missed(_ id: WatcherID, isReady: Bool) {
        guard !isBehind(id) else { return }
        if isReady { enqueue(id) } else { members[Int(id.slot)] = .behind }
    }

    /// The socket of a watcher has room.
    mutating func unblocked(_ id: WatcherID) {
        if members[Int(id.slot)] == .behind { enqueue(id) }
    }

    private mutating func enqueue(_ id: WatcherID) {
        members[Int(id.slot)] = .queued
        queue.append(id)
    }

    // MARK: - Reading

    /// The watchers of the next catch-up; nil while one is under way, or if no watcher waits for one.
    mutating func nextRead(in table: WatcherTable, rights: Rights) -> [WatcherRequest]? {
        guard underWay == nil else { return nil }
        var requests: [WatcherRequest] = []
        while requests.count < limit, let id = queue.popFirst() {
            guard let request = WatcherRequest(id, in: table), members[Int(id.slot)] == .queued else { continue }
            guard table.state(of: id).isReady else {
                members[Int(id.slot)] = .behind
                continue
            }
            members[Int(id.slot)] = .reading
            requests.append(request)
        }
        // Free the memory after a burst.
        if queue.isEmpty { queue = [] }
        guard !requests.isEmpty else { return nil }
        underWay = (requests, rights.suspensions)
        return requests
    }

    /// The catch-up under way succeeded.
    ///
    /// - Parameters:
    ///   - answers: One for each request, in order.
    ///   - table: The watchers.
    ///   - rights: Gets the rights that the catch-up confirms.
    ///   - reads: The newest known version of each session.
    /// - Returns: The actions.
    mutating func completed(
        _ answers: [CatchUpAnswer], in table: inout WatcherTable, rights: inout Rights, reads: SessionReads
    ) -> [Action] {
        guard let (requests, suspensions) = underWay else { return [] }
        underWay = nil
        var actions: [Action] = []
        for (request, answer) in zip(requests, answers) where table.state(of: request.watcher).hasBegun {
            guard answer != .refused else {
                actions.append(.revoke(request))
                continue
            }
            // Right and state come from one database snapshot: no commit lies between them. But another read may have shown
            // that the right has changed since.
            guard rights.confirm(request.watcher, readAfter: suspensions) else {
                enqueue(request.watcher)
                continue
            }
            guard table.state(of: request.watcher).isReady else {
                members[Int(request.watcher.slot)] = .behind
                continue
            }
            members[Int(request.watcher.slot)] = .current
            // The database has an older version than the client after a restore. The client begins again.
            guard case .reading(let reading) = answer, reading.progress.version >= table.sent(to: request.watcher)
            else {
                actions.append(.deliver(Delivery(.reconnect, to: [request.watcher])))
                continue
            }
            if let delivery = Self.delivery(of: reading, to: request.watcher, in: &table) {
                actions.append(.deliver(delivery))
            }
            // It has missed newer news meanwhile.
            if let session = table.sessionSlot(of: request.watcher),
                reads.known(at: session) > table.sent(to: request.watcher)
            {
                enqueue(request.watcher)
            }
        }
        return actions
    }

    /// The message that brings a watcher to a state; nil if the watcher has it.
    private static func delivery(
        of reading: SessionReading, to id: WatcherID, in table: inout WatcherTable
    ) -> Delivery? {
        let sent = table.sent(to: id)
        guard reading.progress.version > sent else { return nil }
        table.setSent(reading.progress.version, to: id)
        // Nothing was sent before: the stream begins with the present state.
        guard sent > 0 else { return Delivery(.state(reading.progress, after: []), to: [id]) }
        return reading.delivery(to: [id], from: sent)
    }

    /// The catch-up under way failed: the next one reads for its watchers again.
    mutating func failed(in table: WatcherTable) {
        for request in underWay?.requests ?? [] where table.state(of: request.watcher).hasBegun {
            enqueue(request.watcher)
        }
        underWay = nil
    }
}
