import Domain
import Foundation
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization

/// A right of one client to one session.
struct RightsLedgerKey: Hashable, Sendable {
    var client: Int
    var session: SessionID
}

/// The states that one client received, over all its connections, in their order.
struct RightsLedgerEntry: Sendable {
    var client: Int
    var states: [SessionID: [(version: Int, status: String)]] = [:]

    mutating func add(_ event: StreamedEvent, of session: SessionID) {
        guard let version = event.version, let status = event.status else { return }
        states[session, default: []].append((version, status))
    }
}

/// Patients with a session each, and clients of which most lose a right in the course of the test.
struct Ward: Sendable {
    /// What ends a right.
    enum End: CaseIterable, Sendable {
        case assignment, signIn, account, role
    }

    struct RightToEnd: Sendable {
        var key: RightsLedgerKey
        var end: End
        var user: UserID
        var patient: UserID
        var signIn: SignInID
    }

    /// What ends the right of everybody who may see a session.
    enum SessionEnd: CaseIterable, Sendable {
        case deletion, move
    }

    struct SessionToEnd: Sendable {
        var session: SessionID
        var end: SessionEnd
        /// The clients that may see the session before.
        var clients: [Int]
        /// Another patient, to whom nobody of the ward has a relation.
        var stranger: UserID
    }

    private(set) var sessions: [SessionID] = []
    private(set) var leaving: [SessionToEnd] = []
    private(set) var watchers: [RightsWatcher] = []
    private(set) var followers: [RightsFollower] = []
    private(set) var ends: [RightToEnd] = []

    /// For each session, its patient, and one therapist who keeps the right and one who loses it.
    ///
    /// Two therapists follow all sessions. One of them loses every second.
    init(sessions count: Int, on server: TestServer) async throws {
        let database = server.database
        let followers = [try await database.addUser(.therapist), try await database.addUser(.therapist)]
        for number in 0..<count {
            let patient = try await database.addUser(.patient)
            let session = try await database.addSession(of: patient)
            sessions.append(session)
            for follower in followers { try await database.assign(follower, to: patient) }
            let (token, signIn) = try await server.signIn(patient)
            add(session, token)
            if number.isMultiple(of: 3) {
                loseRight(to: session, .signIn, of: patient, patient: patient, signIn: signIn)
            }
            for losesRight in [true, false] {
                let therapist = try await database.addUser(.therapist)
                try await database.assign(therapist, to: patient)
                let (token, signIn) = try await server.signIn(therapist)
                add(session, token)
                if losesRight {
                    let end = End.allCases[number % End.allCases.count]
                    loseRight(to: session, end, of: therapist, patient: patient, signIn: signIn)
                }
            }
        }
        for end in SessionEnd.allCases {
            for _ in 0..<4 {
                let patient = try await database.addUser(.patient)
                let session = try await database.addSession(of: patient)
                for follower in followers { try await database.assign(follower, to: patient) }
                let therapist = try await database.addUser(.therapist)
                try await database.assign(therapist, to: patient)
                let clients = [watchers.count, watchers.count + 1]
                for user in [patient, therapist] { add(session, try await server.token(user)) }
                leaving.append(
                    SessionToEnd(
                        session: session, end: end, clients: clients, stranger: try await database.addUser(.patient)))
            }
        }
        for index in leaving.indices { leaving[index].clients += [watchers.count, watchers.count + 1] }
        for (number, user) in followers.enumerated() {
            let (token, _) = try await server.signIn(user)
            self.followers.append(RightsFollower(client: watchers.count + number, token: token, sessions: sessions))
        }
        for (number, session) in sessions.enumerated() where number.isMultiple(of: 2) {
            let rows = try await database.query(
                "SELECT patient_id FROM app.therapy_sessions WHERE id = \(session.rawValue)")
            let patient = UserID(rawValue: try rows[0].decode("patient_id"))
            let key = RightsLedgerKey(client: self.followers[0].client, session: session)
            ends.append(RightToEnd(key: key, end: .assignment, user: followers[0], patient: patient, signIn: .random()))
        }
        self.followers = self.followers.map { follower in
            var follower = follower
            follower.sessions = sessions(keptBy: follower.client)
            return follower
        }
    }

    /// The sessions that a client may see to the end.
    func sessions(keptBy client: Int) -> [SessionID] {
        let lost = Set(ends.filter { $0.key.client == client }.map(\.key.session))
        if let watcher = watchers.first(where: { $0.client == client }) {
            let isLeaving = leaving.contains { $0.session == watcher.session }
            return lost.isEmpty && !isLeaving ? [watcher.session] : []
        }
        return sessions.filter { !lost.contains($0) }
    }

    private mutating func add(_ session: SessionID, _ token: String) {
        watchers.append(RightsWatcher(client: watchers.count, session: session, token: token))
    }

    private mutating func loseRight(
        to session: SessionID, _ end: End, of user: UserID, patient: UserID, signIn: SignInID
    ) {
        let key = RightsLedgerKey(client: watchers.count - 1, session: session)
        ends.append(RightToEnd(key: key, end: end, user: user, patient: patient, signIn: signIn))
    }

    /// Ends every right of the list, in random order.
    ///
    /// The sleeps spread the ends over the time of the writes.
    ///
    /// - Returns: For each right, the version that the session had after the commit that ended it.
    func endRights(over duration: Duration, in database: TestDatabase) async throws -> [RightsLedgerKey: Int] {
        var limits: [RightsLedgerKey: Int] = [:]
        var left = ends.shuffled()[...]
        while let right = left.first {
            do {
                limits[right.key] = try await database.withConnection { connection in
                    try await connection.executeScript(right.statement)
                    let rows = try await connection.query(
                        "SELECT version FROM app.session_progress WHERE session_id = \(right.key.session.rawValue)")
                    return Int(try rows[0].decode("version", as: Int64.self))
                }
                left.removeFirst()
                try await Task.sleep(for: duration * 0.8 / Double(ends.count))
            } catch let error as PostgresError where error.isTransient {
                // The test has stopped PostgreSQL. The statement may be repeated.
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        return limits
    }

    /// Writes to the sessions that leave, until some time after the last one has left.
    func writeToLeaving(until end: ContinuousClock.Instant, in database: TestDatabase) async throws {
        while ContinuousClock.now < end {
            do {
                try await database.withConnection { connection in
                    while ContinuousClock.now < end {
                        for session in leaving.map(\.session) {
                            // A session that was deleted has no row.
                            _ = try await connection.query(
                                """
                                UPDATE app.session_progress SET status = 'transcribing', progress = 20,
                                    message = 'Step ' || version
                                WHERE session_id = \(session.rawValue)
                                """)
                        }
                        try await Task.sleep(for: .milliseconds(25))
                    }
                }
            } catch let error as PostgresError where error.isTransient {
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    /// Deletes and moves the sessions that leave, in random order.
    ///
    /// - Returns: For each client that could see such a session, the version that the session had after that commit; without
    ///   a limit for a deleted session.
    func endSessions(over duration: Duration, in database: TestDatabase) async throws -> [RightsLedgerKey: Int] {
        var limits: [RightsLedgerKey: Int] = [:]
        var left = leaving.shuffled()[...]
        while let next = left.first {
            do {
                let limit = try await database.withConnection { connection in
                    try await connection.executeScript(next.statement)
                    let rows = try await connection.query(
                        "SELECT version FROM app.session_progress WHERE session_id = \(next.session.rawValue)")
                    // A deleted session has no version. Its clients have to learn of the end.
                    return Int(try rows.first?.decode("version", as: Int64.self) ?? .max)
                }
                for client in next.clients { limits[RightsLedgerKey(client: client, session: next.session)] = limit }
                left.removeFirst()
                try await Task.sleep(for: duration * 0.8 / Double(leaving.count))
            } catch let error as PostgresError where error.isTransient {
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        return limits
    }

    /// Ends sign-ins of a user who watches nothing, as fast as PostgreSQL commits.
    func signOutStrangers(until end: ContinuousClock.Instant, in database: TestDatabase) async throws {
        let stranger = try await database.addUser(.therapist)
        while ContinuousClock.now < end {
            do {
                try await database.withConnection { connection in
                    while ContinuousClock.now < end {
                        let signIn = SignInID.random()
                        try await connection.executeScript(
                            """
                            INSERT INTO app.auth_sessions (id, user_id, expires_at)
                                VALUES ('\(signIn)', '\(stranger)', now() + interval '1 day');
                            UPDATE app.auth_sessions SET revoked_at = now() WHERE id = '\(signIn)'
                            """)
                    }
                }
            } catch let error as PostgresError where error.isTransient {
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }
}

extension Ward.RightToEnd {
    var statement: String {
        switch end {
        case .assignment:
            """
            UPDATE app.therapist_patients SET is_active = false
            WHERE therapist_id = '\(user)' AND patient_id = '\(patient)'
            """
        case .signIn: "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = '\(signIn)' AND revoked_at IS NULL"
        case .account: "UPDATE app.users SET is_active = false WHERE id = '\(user)'"
        case .role: "UPDATE app.users SET role = 'patient' WHERE id = '\(user)'"
        }
    }
}

extension Ward.SessionToEnd {
    var statement: String {
        switch end {
        case .deletion: "DELETE FROM app.therapy_sessions WHERE id = '\(session)'"
        case .move: "UPDATE app.therapy_sessions SET patient_id = '\(stranger)' WHERE id = '\(session)'"
        }
    }
}

/// A client that watches one session, connects and disconnects, and stops when it is refused or has the end.
struct RightsWatcher: Sendable {
    var client: Int
    var session: SessionID
    var token: String

    func watch(_ server: TestServer, until isEnding: Atomic<Bool>.Reference) async throws -> RightsLedgerEntry {
        var entry = RightsLedgerEntry(client: client)
        while entry.states[session]?.last?.status != "processed" {
            let enough = Int.random(in: 5...60)
            let last = entry.states[session]?.last?.version
            let path = "/api/sessions/\(session)/status/stream"
            let status = try await server.withStream(path, token: token, lastEventID: last.map(String.init)) { reader in
                var count = 0
                while isEnding.value || count < enough, let event = try await reader.next() {
                    count += 1
                    entry.add(event, of: session)
                }
                return reader.status
            }
            if [401, 403, 404].contains(status) { break }
        }
        return entry
    }
}

/// A client that follows all its sessions, connects and disconnects, and stops when it has the end of each that it keeps.
struct RightsFollower: Sendable {
    var client: Int
    var token: String
    /// The sessions that the client may see to their end.
    var sessions: [SessionID]

    func watch(_ server: TestServer, until isEnding: Atomic<Bool>.Reference) async throws -> RightsLedgerEntry {
        var entry = RightsLedgerEntry(client: client)
        var position: String?
        while !isComplete(entry) {
            let enough = Int.random(in: 20...200)
            try await server.withStream("/api/sessions/status/stream", token: token, lastEventID: position) { reader in
                var count = 0
                while !isComplete(entry), isEnding.value || count < enough, let event = try await reader.next() {
                    if let id = event.id { position = id }
                    // A client that leaves before its first position begins anew, and what lies between is not replayed to it.
                    if position != nil { count += 1 }
                    guard let text = try event.json()["session_id"] as? String, let id = UUID(uuidString: text) else {
                        continue
                    }
                    entry.add(event, of: SessionID(rawValue: id))
                }
            }
        }
        return entry
    }

    private func isComplete(_ entry: RightsLedgerEntry) -> Bool {
        sessions.allSatisfy { entry.states[$0]?.last?.status == "processed" }
    }
}
