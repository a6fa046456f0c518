import Domain
import Postgres
import PostgresTestSupport
import Store
import Synchronization
import TestSupport
import Testing

/// The audit log behind a merger: first accesses, and the records of their repeats.
@Suite(.deadline) struct AuditMergeTests {
    /// A moment that a test moves.
    private final class Moment: Sendable {
        private let state = Mutex(ContinuousClock.now)

        var now: ContinuousClock.Instant { state.withLock { $0 } }

        func pass(_ seconds: Double) { state.withLock { $0 += .seconds(seconds) } }
    }

    private struct Scene: Sendable {
        let database: TestDatabase
        let time: Moment
        let progress: ProgressStore
        let log: AuditStore
        let stage: AuthorizeSessionTests.Stage
        let network = ClientNetwork(address: [192, 0, 2, 1])
        let requestID = RequestIdentifier.random()

        func request(_ action: AuditAction, signIn: SignInID? = nil) -> AuthorizationRequest {
            AuthorizationRequest(
                stage.session, for: Principal(user: stage.user, signIn: signIn ?? stage.signIn), action: action,
                requestID: requestID, network: network)
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            let stage = try await database.adminStage()
            let time = Moment()
            try await database.withServerPool(size: 1) { pool in
                let merger = AccessMerger { time.now }
                try await body(
                    Scene(
                        database: database, time: time, progress: ProgressStore(pool: pool, merger: merger),
                        log: AuditStore(pool: pool, merger: merger), stage: stage))
            }
        }
    }

    @Test("The log records a repeated read, opening or refusal once in ten minutes, and every other action each time")
    func repeated() async throws {
        try await withScene { scene in
            let (database, stage, store) = (scene.database, scene.stage, scene.progress)
            let stranger = try await database.withConnection {
                try await AuthorizeSessionTests.Stage(
                    .init(role: .therapist, relation: Relation(isPatient: false, isAssigned: false)), on: $0)
            }
            let log = scene.request(.readStatus)
            let refused = AuthorizationRequest(stage.session, for: stranger.principal, action: .openStream)
            for _ in 1...3 {
                _ = try await store.admit([log, scene.request(.openStream), scene.request(.retry), refused])
            }
            #expect(try await database.audit("action = 'status.read'").count == 1)
            #expect(try await database.audit("action = 'stream.open' AND is_allowed").count == 1)
            #expect(try await database.audit("action = 'session.retry'").count == 3)
            #expect(try await database.audit("NOT is_allowed").count == 1)
            // Another action, or another sign-in, has its own record.
            _ = try await store.admit(scene.request(.readEvents))
            let other = try await database.addSignIn(of: stage.user)
            _ = try await store.admit(scene.request(.readStatus, signIn: other))
            #expect(try await database.audit("action IN ('status.read', 'events.read')").count == 3)

            scene.time.pass(599)
            _ = try await store.admit([log, refused])
            #expect(try await database.audit("action = 'status.read' OR NOT is_allowed").count == 3)
            scene.time.pass(2)
            _ = try await store.admit([log, refused])
            #expect(try await database.audit("action = 'status.read' OR NOT is_allowed").count == 5)
        }
    }

    @Test("The repeats of an access are one record, with their number, times and address")
    func appended() async throws {
        try await withScene { scene in
            _ = try await scene.progress.admit(scene.request(.openStream))
            for _ in 0..<4 {
                scene.time.pass(60)
                _ = try await scene.progress.admit(scene.request(.openStream))
            }
            #expect(try await scene.log.recordRepeats(endingWithin: .seconds(300)) == 0)
            scene.time.pass(60)
            #expect(try await scene.log.recordRepeats(endingWithin: .seconds(300)) == 1)
            #expect(try await scene.log.recordRepeats(endingWithin: .seconds(300)) == 0)
            let records = try await scene.database.audit("action = 'stream.open'")
            #expect(records.count == 2)
            let first = try #require(records.first { $0.repeats == nil })
            let repeats = try #require(records.first { $0.repeats != nil })
            #expect(first.until == nil)
            #expect(first.requestID == scene.requestID.description)
            #expect(first.address == "192.0.2.1")
            #expect(repeats.repeats == 4)
            #expect(repeats.requestID == nil)
            let until = try #require(repeats.until)
            // Four minutes between the first and the last of the repeats, and one more until the record.
            #expect(abs(until.duration(since: repeats.at) / .seconds(1) - 180) < 0.01)
            let present = try await scene.database.query("SELECT clock_timestamp() AS now")[0]
                .decode("now", as: Timestamp.self)
            #expect(present.duration(since: until) >= .seconds(60))
            for record in records {
                #expect(record.user == scene.stage.user)
                #expect(record.signIn == scene.stage.signIn)
                #expect(record.session == scene.stage.session)
                #expect(record.patient != nil)
                #expect(record.patient == first.patient)
                #expect(record.address == first.address)
                #expect(record.isAllowed)
            }
        }
    }

    @Test("The database has an IPv4 address as it is, and of an IPv6 address the network of its first 64 bits")
    func networks() async throws {
        let networks = [
            ClientNetwork(address: [192, 0, 2, 1]),
            ClientNetwork(address: [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8]),
        ]
        try await withDatabase { database in
            let row = try await database.query(
                """
                SELECT ARRAY(SELECT host(n) || '/' || masklen(n) FROM unnest(\(networks)) AS n) AS texts,
                       \(networks) AS networks, \(networks[1])::text AS text, \(ClientNetwork?.none) IS NULL AS is_null
                """)[0]
            #expect(try row.decode("texts", as: [String].self) == ["192.0.2.1/32", "2001:db8:0:7::/64"])
            #expect(try row.decode("networks", as: [ClientNetwork].self) == networks)
            #expect(try row.decode("text", as: String.self) == "2001:db8:0:7::/64")
            #expect(try row.decode("is_null", as: Bool.self))
        }
    }

    @Test("A repeat keeps its patient in the log when its session is deleted meanwhile")
    func deleted() async throws {
        try await withScene { scene in
            for _ in 0..<2 { _ = try await scene.progress.admit(scene.request(.readNotes)) }
            try await scene.database.query("DELETE FROM app.therapy_sessions")
            scene.time.pass(600)
            #expect(try await scene.log.recordRepeats(endingWithin: .zero) == 1)
            let records = try await scene.database.audit("action = 'notes.read'")
            #expect(Set(records.map(\.patient)).count == 1)
            #expect(records.allSatisfy { $0.patient != nil })
        }
    }

    @Test("An access whose record cannot be written fails, is no first access, and merges nothing")
    func failClosed() async throws {
        try await withScene { scene in
            try await scene.database.breakAudit()
            for _ in 0..<2 {
                await #expect(throws: PostgresError.self) { try await scene.progress.admit(scene.request(.openStream)) }
                await #expect(throws: PostgresError.self) {
                    try await scene.log.record(
                        AuditedAccess(.listSessions, by: scene.stage.principal), isAllowed: true, requestID: .random())
                }
                await #expect(throws: PostgresError.self) {
                    try await scene.progress.admitCaseload(
                        of: scene.stage.principal, resumes: false, requestID: .random(), network: nil)
                }
            }
            try await scene.database.mendAudit()
            _ = try await scene.progress.admit(scene.request(.openStream))
            #expect(try await scene.database.audit("action = 'stream.open'").count == 1)
        }
    }

    @Test("Repeats that cannot be recorded are recorded later, with their times")
    func later() async throws {
        try await withScene { scene in
            for _ in 0..<3 {
                try await scene.log.record(
                    AuditedAccess(.listSessions, by: scene.stage.principal, from: scene.network), isAllowed: true,
                    requestID: .random())
                _ = try await scene.progress.admitCaseload(
                    of: scene.stage.principal, resumes: true, requestID: .random(), network: scene.network)
            }
            try await scene.database.breakAudit()
            scene.time.pass(600)
            await #expect(throws: PostgresError.self) { try await scene.log.recordRepeats(endingWithin: .zero) }
            try await scene.database.mendAudit()
            scene.time.pass(30)
            #expect(try await scene.log.recordRepeats(endingWithin: .zero) == 2)
            for action in ["sessions.list", "caseload.resume"] {
                let records = try await scene.database.audit("action = '\(action)'")
                #expect(Set(records.map(\.repeats)) == [nil, 2], "\(action)")
                let present = try await scene.database.query("SELECT clock_timestamp() AS now")[0]
                    .decode("now", as: Timestamp.self)
                #expect(
                    records.compactMap(\.until).allSatisfy { present.duration(since: $0) >= .seconds(630) },
                    "\(action)")
            }
        }
    }

    @Test("The end of the merging records what is left, and a crash would lose only repeats")
    func end() async throws {
        try await withScene { scene in
            for _ in 0..<3 { _ = try await scene.progress.admit(scene.request(.hearRecording)) }
            #expect(try await scene.database.audit("action = 'recording.read'").map(\.repeats) == [nil])
            try await scene.log.endMerging()
            #expect(Set(try await scene.database.audit("action = 'recording.read'").map(\.repeats)) == [nil, 2])
            _ = try await scene.progress.admit(scene.request(.hearRecording))
            #expect(try await scene.database.audit("action = 'recording.read'").count == 3)
        }
    }

    @Test("More repeats than one statement takes are all recorded")
    func many() async throws {
        try await withScene { scene in
            for round in 0..<2 {
                for block in 0..<11 {
                    let requests = (0..<100).map { number in
                        var request = scene.request(.openStream)
                        request.network = ClientNetwork(address: [10, 0, UInt8(block), UInt8(number)])
                        return request
                    }
                    _ = try await scene.progress.admit(requests)
                }
                #expect(try await scene.database.audit("action = 'stream.open'").count == 1100, "\(round)")
            }
            scene.time.pass(600)
            #expect(try await scene.log.recordRepeats(endingWithin: .zero) == 1100)
            #expect(try await scene.database.audit("repeats = 1").count == 1100)
        }
    }

    @Test("A repeat in the name of another user's sign-in is not recorded, and one of a removed sign-in is")
    func forged() async throws {
        try await withScene { scene in
            let victim = try await scene.database.addUser(.therapist)
            for (user, signIn, count) in [(victim, scene.stage.signIn, 0), (scene.stage.user, SignInID.random(), 1)] {
                try await scene.database.query(
                    """
                    SELECT app.record_repeats(
                        \([user]), \([signIn]), ARRAY['notes.read'], ARRAY[true], \([scene.stage.session]),
                        ARRAY[NULL]::uuid[], ARRAY[NULL]::inet[], ARRAY[5::bigint], ARRAY[interval '1000000000 s'], ARRAY[interval '-5 s'])
                    """, as: "therapybridge_server")
                let records = try await scene.database.audit("action = 'notes.read'")
                #expect(records.count == count)
                // The ages are limited to a day, and end at the present.
                #expect(
                    records.allSatisfy { ($0.until?.duration(since: $0.at)).map { $0 <= .seconds(86_400) } == true })
            }
        }
    }
}
