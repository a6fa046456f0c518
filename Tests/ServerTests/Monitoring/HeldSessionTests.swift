import App
import AsyncHTTPClient
import Domain
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

/// What an open transaction of a pipeline costs the server, for each function that holds a session and each request that
/// needs the session.
@Suite(.deadline(.seconds(600))) struct HeldSessionTests {
    /// A transaction that stays open.
    enum Holder: String, CaseIterable, Sendable {
        case claim = "claim_session"
        case keepLease = "keep_lease"
        case storeTranscript = "store_transcript"
        /// No pipeline can hold a session that waits for its recording.
        case operatorsLock = "an operator's lock"
    }

    /// A kind of request that needs the lock of the session.
    enum Waiter: String, CaseIterable, Sendable {
        case delete, change, cancel, retry, putTranscript, putNotes, correctTranscript, correctNotes, report, reports,
            keepLease, giveLeaseBack, endUpload
    }

    private static let requests = 9
    /// The pool has one connection less than there are requests.
    private static let poolSize = 8
    /// The limit of docs/configuration.md.
    private static let mostWaiting = 2

    @Test(
        "However a pipeline holds a session, few connections wait for it, and the server serves everything else",
        arguments: Holder.allCases)
    func matrix(holder: Holder) async throws {
        try await withDatabase { database in
            var timeouts = DatabaseTimeouts.forTests
            timeouts.lock = TestDeadline.event / 3
            let environment = [
                "DATABASE_POOL_SIZE": "\(Self.poolSize)", "LOGIN_MAX_PER_ACCOUNT": "1000",
                "LOGIN_MAX_PER_ADDRESS": "1000",
            ]
            try await withServer(over: database, environment, databaseTimeouts: timeouts) { server in
                let clinic = try await Clinic(server)
                let user = try await database.addUser(.therapist, email: "ada@clinic.example")
                try await database.setPassword("correct horse battery", of: user)
                for waiter in Waiter.allCases where (waiter == .endUpload) == (holder == .operatorsLock) {
                    try await HeldSession(clinic, holder, waiter).run()
                }
            }
        }
    }

    /// One cell of the matrix.
    private struct HeldSession {
        let clinic: Clinic
        let holder: Holder
        let waiter: Waiter
        let session: SessionID
        /// The path of the session's upload; empty without an upload.
        let upload: String
        /// The members `lease` and `attempt` of the standing lease.
        let proof: String
        /// The statement of the holder.
        let statement: String

        var name: Comment { "\(waiter) beside \(holder)" }

        init(_ clinic: Clinic, _ holder: Holder, _ waiter: Waiter) async throws {
            (self.clinic, self.holder, self.waiter) = (clinic, holder, waiter)
            if holder == .operatorsLock {
                var client = clinic.resumable(4000)
                try await client.begin()
                (session, upload, proof) = (client.session, client.path, "")
                statement = "SELECT FROM app.session_progress WHERE session_id = '\(client.session)' FOR UPDATE"
                return
            }
            upload = ""
            session = try await clinic.database.query(
                """
                INSERT INTO app.therapy_sessions (patient_id, recording, filename, bytes, media_type)
                VALUES (\(clinic.id(.patient)), gen_random_uuid()::text, 'session.ogg', 1000, 'audio/ogg') RETURNING id
                """
            )[0].decode("id", as: SessionID.self)
            if holder == .claim {
                (proof, statement) = (
                    #""lease": "none", "attempt": 1"#, "SELECT * FROM app.claim_session('holder', '1 h')"
                )
                return
            }
            let claimed = try await clinic.database.query(
                "SELECT session_id, attempt, lease FROM app.claim_session('holder', '1 h')",
                as: "therapybridge_pipeline")[0]
            #expect(try claimed.decode("session_id", as: SessionID.self) == session)
            let lease = try claimed.decode("lease", as: String.self)
            let attempt = try claimed.decode("attempt", as: Int32.self)
            proof = #""lease": "\#(lease)", "attempt": \#(attempt)"#
            statement =
                holder == .keepLease
                ? "SELECT app.keep_lease('\(session)', \(attempt), '1 h', '\(lease)')"
                : "SELECT app.store_transcript('\(session)', \(attempt), "
                    + #"'{"text": "", "segments": [], "duration_seconds": 7}', '\#(lease)')"#
        }

        /// True if the request needs nothing that the holder has locked.
        private var isFree: Bool {
            switch holder {
            // The progress and the lease. The request presents no lease that it could extend.
            case .claim: [.change, .keepLease].contains(waiter)
            // The lease alone.
            case .keepLease: ![.delete, .cancel, .keepLease, .giveLeaseBack].contains(waiter)
            // The session and its progress.
            case .storeTranscript: waiter == .keepLease
            case .operatorsLock: false
            }
        }

        /// True if the server waits less for the lock than this test lets it wait: a batch of reports waits for a second.
        private var isShort: Bool { waiter == .report || waiter == .reports }

        func run() async throws {
            let role = holder == .operatorsLock ? "postgres" : "therapybridge_pipeline"
            try await clinic.database.withConnection(as: role) { connection async throws in
                try await connection.executeScript("BEGIN; \(statement)")
                let answered = Counter()
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<HeldSessionTests.requests {
                        group.addTask {
                            let status = try await send()
                            answered.increment()
                            return status
                        }
                    }
                    if isFree {
                        for _ in 0..<HeldSessionTests.requests {
                            let status = try #require(try await group.next())
                            #expect(status < 500, name)
                        }
                    } else {
                        try await clinic.database.untilSomeoneWaitsForALock()
                    }
                    var waiting = try await self.waiting()
                    for _ in 0..<2 {
                        try await serveOthers()
                        waiting = max(waiting, try await self.waiting())
                    }
                    #expect(waiting <= HeldSessionTests.mostWaiting, name)
                    if !isFree, !isShort {
                        // The other requests waited for none of these.
                        #expect(answered.value == 0, name)
                    }
                    if isShort {
                        // A list of reports has an outcome for each.
                        let expected = waiter == .reports ? 200 : 503
                        while let status = try await group.next() { #expect(status == expected, name) }
                    }
                    try await connection.executeScript("ROLLBACK")
                    while let status = try await group.next() { #expect(status < 500, name) }
                }
            }
            try await clinic.database.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
        }

        /// How many connections of the server wait for a lock.
        private func waiting() async throws -> Int {
            try await clinic.database.query(
                """
                SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND usename = 'therapybridge_server' AND wait_event_type = 'Lock'
                """
            ).count
        }

        /// Requests that need no lock of the session are answered.
        private func serveOthers() async throws {
            let signIn = try await clinic.post(
                "/api/auth/login", #"{"email": "ada@clinic.example", "password": "correct horse battery"}"#, as: nil)
            #expect(signIn.status == 200, name)
            for session in [clinic.session, session] {
                for path in ["", "/status"] {
                    let answer = try await clinic.request(.GET, "/api/sessions/\(session)\(path)", as: .therapist)
                    #expect(answer.status == 200, name)
                }
            }
        }

        /// Sends one request, on one of many connections, and returns its status.
        private func send() async throws -> Int {
            let path = "/api/sessions/\(session)"
            let report = #""status": "transcribing", "progress": 30, \#(proof)"#
            return switch waiter {
            case .delete: try await send(.DELETE, path)
            case .change: try await send(.PATCH, path, #"{"language": "de"}"#)
            case .cancel: try await send(.POST, "\(path)/cancel")
            case .retry: try await send(.POST, "\(path)/retry")
            case .putTranscript:
                try await send(.PUT, "\(path)/transcript", #"{\#(proof), "text": "", "segments": []}"#, as: .pipeline)
            case .putNotes: try await send(.PUT, "\(path)/notes", #"{\#(proof), "a": 1}"#, as: .pipeline)
            case .correctTranscript:
                try await send(.PATCH, "\(path)/transcript", #"{"segments": [{"index": 0, "text": "a"}]}"#)
            case .correctNotes: try await send(.PUT, "\(path)/notes", "{}")
            case .report: try await send(.POST, "\(path)/progress", "{\(report)}", as: .pipeline)
            case .reports:
                try await send(
                    .POST, "/api/progress", #"{"reports": [{"session_id": "\#(session)", \#(report)}]}"#, as: .pipeline)
            case .keepLease:
                try await send(
                    .POST, "/api/pipeline/leases/\(session)", #"{\#(proof), "lease_seconds": 60}"#, as: .pipeline)
            case .giveLeaseBack:
                try await send(.DELETE, "/api/pipeline/leases/\(session)", "{\(proof)}", as: .pipeline)
            case .endUpload: try await send(.DELETE, upload)
            }
        }

        private func send(
            _ method: HTTPMethod, _ path: String, _ json: String? = nil, as caller: Clinic.Caller = .therapist
        ) async throws -> Int {
            var request = HTTPClientRequest(url: "\(clinic.server.baseURL)\(path)")
            request.method = method
            request.headers.add(name: "Authorization", value: "Bearer \(clinic.token(caller))")
            if path.hasPrefix("/api/uploads") { request.headers.add(name: "Tus-Resumable", value: "1.0.0") }
            if let json {
                request.headers.add(name: "If-Match", value: "\"a\"")
                request.headers.add(name: "Content-Type", value: "application/json")
                request.body = .bytes(Data(json.utf8))
            }
            let response = try await TestServer.client.execute(request, timeout: TimeAmount(TestDeadline.event))
            _ = try await response.body.collect(upTo: 1 << 20)
            return Int(response.status.code)
        }
    }
}

/// A number that several tasks count up.
private final class Counter: Sendable {
    private let count = Atomic(0)

    var value: Int { count.load(ordering: .relaxed) }

    func increment() { count.add(1, ordering: .relaxed) }
}
