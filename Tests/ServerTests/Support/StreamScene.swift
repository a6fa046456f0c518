import Domain
import NIOHTTP1
import Polling
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A session and its patient, who is signed in.
struct StreamScene: Sendable {
    let server: TestServer
    let patient: UserID
    let session: SessionID
    let token: String

    var database: TestDatabase { server.database }
    var path: String { "/api/sessions/\(session)/status/stream" }

    init(_ server: TestServer) async throws {
        self.server = server
        patient = try await server.database.addUser(.patient)
        session = try await server.database.addSession(of: patient)
        token = try await server.token(patient)
    }

    /// Lends the patient's stream of the session.
    func withStream<Result>(
        query: String = "", lastEventID: String? = nil, _ body: (EventReader) async throws -> Result
    ) async throws -> Result {
        var headers: HTTPHeaders = ["Authorization": "Bearer \(token)", "Accept": "text/event-stream"]
        if let lastEventID { headers.add(name: "Last-Event-ID", value: lastEventID) }
        return try await server.withStream(path + query, headers: headers, body)
    }

    @discardableResult
    func report(
        _ status: SessionStatus, _ progress: Int, message: String? = nil, error: String? = nil
    ) async throws -> Int {
        Int(try await database.report(session, status, progress, message: message, error: error))
    }

    func retry() async throws { try await database.retry(session) }

    /// The versions of the transitions in the database.
    func transitions(after version: Int = 0) async throws -> [Int] {
        try await database.query(
            """
            SELECT version FROM app.session_events
            WHERE session_id = \(session.rawValue) AND version > \(Int64(version)) ORDER BY version
            """
        ).map { Int(try $0.decode("version", as: Int64.self)) }
    }
}

/// Lends a running server with a session and its patient.
func withStreamScene<Result: Sendable>(
    _ environment: [String: String] = [:], clock: any MonotonicClock = ContinuousClock(),
    _ body: @escaping @Sendable (StreamScene) async throws -> Result
) async throws -> Result {
    try await withServer(environment, clock: clock) { try await body(StreamScene($0)) }
}

/// Opens streams at a server in a process of its own, and sends SIGTERM to it when all of them are open.
///
/// - Parameters:
///   - count: The number of clients.
///   - client: One client: its number, and the function that it calls when its stream is open. It returns when its stream
///     has ended.
/// - Throws: What a client throws; ``DidNotHappen``.
func withShutdown(
    of count: Int, _ client: @escaping @Sendable (StreamScene, Int, @Sendable () -> Void) async throws -> Void
) async throws {
    try await withDatabase { database in
        try await withServingProgram(over: database) { server, program in
            let scene = try await StreamScene(server)
            let (opened, open) = AsyncStream.makeStream(of: Void.self)
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for number in 0..<count {
                    clients.addTask { try await client(scene, number) { open.yield() } }
                }
                try await opened.wait(for: count)
                try program.terminate()
                try await clients.waitForAll()
            }
        }
    }
}

extension TestDatabase {
    /// Sets a failed session back to `pending`.
    ///
    /// The route would refuse: the session has no recording.
    func retry(_ session: SessionID) async throws {
        try await query("UPDATE app.session_progress SET status = 'pending' WHERE session_id = \(session.rawValue)")
    }

    /// Fails a session and sets it back to `pending` in one commit, so that its streams do not end.
    func failAndRetry(_ session: SessionID) async throws {
        try await withConnection { try await $0.failAndRetry(session) }
    }
}

extension PostgresConnection {
    /// Fails a session and sets it back to `pending` in one commit, so that its streams do not end.
    func failAndRetry(_ session: SessionID, progress: Int = 0, error: String? = nil) async throws {
        try await withTransaction { connection in
            _ = try await connection.query(
                "SELECT app.report_progress(\(session.rawValue), 'failed', \(Int32(progress)), NULL, \(error))")
            _ = try await connection.execute(
                "UPDATE app.session_progress SET status = 'pending' WHERE session_id = \(session.rawValue)")
        }
    }
}

extension EventReader {
    /// The next event.
    ///
    /// Another name than this one fails the test.
    func next(_ name: String, fileID: String = #fileID, line: Int = #line) async throws -> StreamedEvent {
        let event = try #require(try await nextEvent(fileID: fileID, line: line))
        #expect(event.event == name)
        return event
    }

    /// The next block that is an event; nil at the end of the stream.
    func nextEvent(fileID: String = #fileID, line: Int = #line) async throws -> StreamedEvent? {
        while let block = try await next(fileID: fileID, line: line) {
            if block.event != nil { return block }
        }
        return nil
    }

    /// The events up to a version.
    func events(
        upTo version: Int, fileID: String = #fileID, line: Int = #line
    ) async throws -> [StreamedEvent] {
        var events: [StreamedEvent] = []
        while events.last?.version != version {
            events.append(try #require(try await nextEvent(fileID: fileID, line: line)))
        }
        return events
    }

    /// Waits for a heartbeat, which must be the next block.
    func heartbeat(fileID: String = #fileID, line: Int = #line) async throws {
        let block = try #require(try await nextBlock(fileID: fileID, line: line))
        #expect(block.comment == "heartbeat")
        #expect(block.event == nil)
    }
}

extension StreamedEvent {
    /// True if the event has no id and an empty object.
    var isBare: Bool { id == nil && data == "{}" }
}
