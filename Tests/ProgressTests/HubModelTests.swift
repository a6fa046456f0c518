import Domain
import Testing

@testable import Progress

/// Random histories of commits, hints, reads, snapshots and watchers, held against what every watcher is promised: versions
/// that strictly rise, every transition after its snapshot exactly once, and in the end the newest state.
@Suite struct HubModelTests {
    @Test("Whatever is lost, doubled, late or forged, one poll brings everybody to the newest state", arguments: 0..<8)
    func lossyHistories(batch: UInt64) {
        for seed in (batch * 100)..<(batch * 100 + 100) {
            var world = World(seed: seed, losesHints: true)
            for _ in 0..<400 { world.step() }
            world.machine.markAllStale()
            world.settle()
            world.checkThatEverybodyIsThere("seed \(seed)")
        }
    }

    /// The hints, the pauses and the snapshots alone bring everybody there.
    @Test("When no hint is lost, nobody needs the poll", arguments: 0..<8)
    func losslessHistories(batch: UInt64) {
        for seed in (batch * 100)..<(batch * 100 + 100) {
            var world = World(seed: seed, losesHints: false)
            for _ in 0..<400 { world.step() }
            world.settle()
            world.checkThatEverybodyIsThere("seed \(seed)")
        }
    }
}

/// The hub's surroundings: a database of a few sessions, a wire for hints, a slow reader, and watchers who come and go.
///
/// Time is the number of steps. The database announces a percentage when its last announcement is ``quiet`` old, and the
/// hub's pause is a little longer than that, as in real life.
private struct World {
    private static let quiet = 50
    private static let pause = 60

    struct Row {
        var version: Int64 = 1
        var transitions: [Int64] = []
        var announcedAt = 0
    }

    /// One watcher, and what it has been given.
    struct Watcher {
        let session: SessionID
        /// What the snapshot said, once it was read.
        var snapshot: Int64?
        var hasBegun = false
        var last: Int64 = 0
        var transitions: [Int64] = []
    }

    /// A read on its way: what was asked, and once the database was reached, its answer.
    struct Flight {
        let asked: [SessionID: Int64]
        var answer: [SessionReading]?
    }

    var machine = HubStateMachine(readLimit: 2)
    private var random: Seeded
    private let losesHints: Bool
    private let sessions = (0..<4).compactMap { SessionID("00000000-0000-4000-8000-00000000000\($0)") }
    private var time = 0
    private var rows: [SessionID: Row] = [:]
    private var hints: [(session: SessionID, version: Int64)] = []
    private var pauses: [(session: SessionID, end: Int)] = []
    private var watchers: [HubStateMachine.WatcherID: Watcher] = [:]
    private var flight: Flight?

    init(seed: UInt64, losesHints: Bool) {
        random = Seeded(state: seed)
        self.losesHints = losesHints
        for session in sessions { rows[session] = Row() }
    }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    /// One thing happens.
    mutating func step() {
        time += 1
        let session = sessions[Int.random(in: sessions.indices, using: &random)]
        switch Int.random(in: 0..<12, using: &random) {
        case 0, 1: commit(session)
        case 2: if watchers.count < 12 { subscribe(to: session) }
        case 3: if let id = watcher(of: session, where: { $0.snapshot == nil }) { readSnapshot(id) }
        case 4: if let id = watcher(of: session, where: { $0.snapshot != nil && !$0.hasBegun }) { begin(id) }
        case 5: if chance(30), let id = watcher(of: session, where: { _ in true }) { unsubscribe(id) }
        case 6, 7: deliverHint()
        case 8: startRead()
        case 9: answerRead()
        case 10: landRead(mayFail: true)
        default:
            endPauses()
            if losesHints, chance(20) { machine.markAllStale() }
        }
    }

    /// Nothing more is committed, and everything that is under way arrives.
    mutating func settle() {
        for (id, watcher) in watchers where !watcher.hasBegun {
            if watcher.snapshot == nil { readSnapshot(id) }
            begin(id)
        }
        while true {
            if flight != nil {
                answerRead()
                landRead(mayFail: false)
            } else if !hints.isEmpty {
                deliverHint()
            } else {
                startRead()
                if flight == nil {
                    guard let next = pauses.map(\.end).min() else { return }
                    time = max(time, next)
                    endPauses()
                }
            }
        }
    }

    func checkThatEverybodyIsThere(_ history: Comment) {
        for watcher in watchers.values {
            guard let snapshot = watcher.snapshot, let row = rows[watcher.session] else {
                Issue.record("a watcher never began")
                continue
            }
            #expect(watcher.last == row.version, history)
            #expect(watcher.transitions == row.transitions.filter { $0 > snapshot }, history)
        }
    }

    // MARK: The database

    private mutating func commit(_ session: SessionID) {
        guard var row = rows[session] else { return }
        row.version += 1
        let isTransition = chance(40)
        if isTransition { row.transitions.append(row.version) }
        let isAnnounced = isTransition || time - row.announcedAt >= Self.quiet
        if isAnnounced { row.announcedAt = time }
        rows[session] = row
        guard isAnnounced, !losesHints || chance(70) else { return }
        for _ in 0..<(chance(20) ? 2 : 1) { hints.append((session, row.version)) }
    }

    // MARK: Watchers

    private mutating func watcher(
        of session: SessionID, where isWanted: (Watcher) -> Bool
    ) -> HubStateMachine.WatcherID? {
        watchers.first { $0.value.session == session && isWanted($0.value) }?.key
    }

    private mutating func subscribe(to session: SessionID) {
        watchers[machine.subscribe(to: session)] = Watcher(session: session)
    }

    private mutating func readSnapshot(_ id: HubStateMachine.WatcherID) {
        guard let watcher = watchers[id] else { return }
        watchers[id]?.snapshot = rows[watcher.session]?.version
    }

    private mutating func begin(_ id: HubStateMachine.WatcherID) {
        guard let watcher = watchers[id], let version = watcher.snapshot else { return }
        watchers[id]?.hasBegun = true
        watchers[id]?.last = version
        if machine.begin(id, at: version) { pauses.append((watcher.session, time + Self.pause)) }
    }

    private mutating func unsubscribe(_ id: HubStateMachine.WatcherID) {
        machine.unsubscribe(id)
        watchers[id] = nil
    }

    // MARK: The wire

    private mutating func deliverHint() {
        if losesHints, chance(10) {
            // Anybody may send anything.
            _ = machine.hint(sessions[0], version: .random(in: -5...200, using: &random))
        }
        guard !hints.isEmpty else { return }
        let (session, version) = hints.remove(at: Int.random(in: hints.indices, using: &random))
        _ = machine.hint(session, version: version)
    }

    private mutating func endPauses() {
        let ended = pauses.filter { $0.end <= time }
        pauses.removeAll { $0.end <= time }
        for (session, _) in ended where machine.pauseEnded(session) { pauses.append((session, time + Self.pause)) }
    }

    // MARK: Reads

    private mutating func startRead() {
        guard let read = machine.nextRead() else { return }
        #expect(flight == nil, "a read is under way already")
        #expect(read.sessions.count <= 2)
        flight = Flight(asked: read.sessions)
    }

    private mutating func answerRead() {
        guard let asked = flight?.asked, flight?.answer == nil else { return }
        flight?.answer = asked.compactMap { session, known in
            guard let row = rows[session], row.version > known else { return nil }
            return reading(session, version: row.version, transitions: row.transitions.filter { $0 > known })
        }
    }

    private mutating func landRead(mayFail: Bool) {
        guard let answer = flight?.answer else { return }
        flight = nil
        if mayFail, chance(20) { return machine.failed() }
        let outcome = machine.completed(answer, existing: Set(sessions))
        #expect(outcome.gone.isEmpty)
        for (id, reading, after) in outcome.deliveries { deliver(reading, after: after, to: id) }
        for session in outcome.readAfterPause { pauses.append((session, time + Self.pause)) }
    }

    private mutating func deliver(_ reading: SessionReading, after: Int64, to id: HubStateMachine.WatcherID) {
        guard var watcher = watchers[id], let row = rows[watcher.session] else {
            Issue.record("a delivery to nobody")
            return
        }
        let version = reading.progress.version
        #expect(reading.progress.sessionID == watcher.session)
        #expect(watcher.hasBegun, "a delivery before the snapshot")
        #expect(after == watcher.last, "the machine knows what the watcher was given")
        #expect(version > watcher.last, "versions strictly rise")
        let fresh = reading.transitions.map(\.version).filter { $0 > after }
        #expect(fresh == row.transitions.filter { $0 > watcher.last && $0 <= version }, "each transition between, once")
        watcher.transitions += fresh
        watcher.last = version
        watchers[id] = watcher
    }
}

/// A random generator that tells the same history for the same seed (SplitMix64), provided that dictionaries keep their
/// order from run to run: `SWIFT_DETERMINISTIC_HASHING=1`.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
}
