import DequeModule
import Domain

/// Reads for watchers that have missed something: right and state in one snapshot, for each of them alone.
///
/// A slow client or a change of rights thus costs a read, never a wrong frame and never a backlog.
struct CatchUps {
    /// What an answer leads to.
    enum Action {
        case deliver(Delivery)
        case revoke(WatcherRequest)
    }

    /// How a watcher of one session stands to the others.
    private enum Member: UInt8 {
        /// It gets what the reads of its session find. Goes to ``behind`` or ``queued``.
        case current
        /// It has missed something, and its socket has no room. Goes to ``queued``.
        case behind
        /// It waits for its turn. Goes to ``asked``, or back to ``behind`` if the room is gone.
        case queued
        /// The catch-up under way asks about it. Goes to ``current``, to ``behind`` if the room is gone, or to ``queued`` if
        /// the answer cannot be used.
        case asked
    }

    private var members = Column(initial: Member.current)
    private var queue: Deque<WatcherID> = []
    private var underWay: [WatcherRequest]?
    /// At most this many watchers in one read.
    private let limit: Int

    /// The memory of one watcher here, in bytes.
    static let bytesPerWatcher = MemoryLayout<Member>.stride

    init(limit: Int) { self.limit = limit }

    mutating func begin(_ id: WatcherID) { members[Int(id.slot)] = .current }

    func isBehind(_ id: WatcherID) -> Bool { members[Int(id.slot)] != .current }

    /// A watcher has missed something.
    mutating func missed(_ id: WatcherID, isReady: Bool) {
        guard !isBehind(id) else { return }
        if isReady { enqueue(id) } else { members[Int(id.slot)] = .behind }
    }

    /// A watcher's socket has room.
    mutating func unblocked(_ id: WatcherID) {
        if members[Int(id.slot)] == .behind { enqueue(id) }
    }

    private mutating func enqueue(_ id: WatcherID) {
        members[Int(id.slot)] = .queued
        queue.append(id)
    }

    // MARK: - Reading

    /// The watchers to catch up next; nil while that is under way or when there is none.
    mutating func nextRead(in table: WatcherTable) -> [WatcherRequest]? {
        guard underWay == nil else { return nil }
        var requests: [WatcherRequest] = []
        while requests.count < limit, let id = queue.popFirst() {
            guard let request = WatcherRequest(id, in: table), members[Int(id.slot)] == .queued else { continue }
            guard table.state(of: id).isReady else {
                members[Int(id.slot)] = .behind
                continue
            }
            members[Int(id.slot)] = .asked
            requests.append(request)
        }
        // After a burst the memory is not kept.
        if queue.isEmpty { queue = [] }
        guard !requests.isEmpty else { return nil }
        underWay = requests
        return requests
    }

    /// The catch-up under way came back.
    ///
    /// - Parameters:
    ///   - answers: For each request in order.
    ///   - epoch: The epoch of rights in the same snapshot.
    mutating func completed(
        _ answers: [CatchUpAnswer], under epoch: Int64, in table: inout WatcherTable, rights: inout Rights,
        reads: SessionReads
    ) -> [Action] {
        guard let requests = underWay else { return [] }
        // Another read has shown that rights have changed since this one.
        guard epoch == rights.epoch else {
            failed(in: table)
            return []
        }
        underWay = nil
        var actions: [Action] = []
        for (request, answer) in zip(requests, answers) where table.state(of: request.watcher).hasBegun {
            guard answer != .refused else {
                actions.append(.revoke(request))
                continue
            }
            // Right and state are of one snapshot: nothing was committed between them.
            rights.confirm(request.watcher, under: epoch)
            guard table.state(of: request.watcher).isReady else {
                members[Int(request.watcher.slot)] = .behind
                continue
            }
            members[Int(request.watcher.slot)] = .current
            guard case .reading(let reading) = answer else { continue }
            if let delivery = Self.delivery(of: reading, to: request.watcher, in: &table) {
                actions.append(.deliver(delivery))
            }
            // Something newer has gone past it meanwhile.
            if let session = table.sessionSlot(of: request.watcher),
                reads.known(at: session) > table.sent(to: request.watcher)
            {
                enqueue(request.watcher)
            }
        }
        return actions
    }

    /// The message that brings a watcher to a state; nil when it has that.
    private static func delivery(
        of reading: SessionReading, to id: WatcherID, in table: inout WatcherTable
    ) -> Delivery? {
        let sent = table.sent(to: id)
        guard reading.progress.version > sent else { return nil }
        table.setSent(reading.progress.version, to: id)
        // Nothing was sent yet: the stream begins with the present state.
        guard sent > 0 else { return Delivery(.state(reading.progress, after: []), to: [id]) }
        return reading.delivery(to: [id], from: sent)
    }

    /// The catch-up under way failed: all are asked about again.
    mutating func failed(in table: WatcherTable) {
        for request in underWay ?? [] where table.state(of: request.watcher).hasBegun { enqueue(request.watcher) }
        underWay = nil
    }
}
