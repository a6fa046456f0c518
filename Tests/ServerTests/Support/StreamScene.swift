import Domain
import NIOHTTP1
import Polling
import Postgres
import PostgresTestSupport
import ServerTestSupport
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

    /// Sets the failed session back to `pending`.
    ///
    /// The route would refuse: the session has no recording.
    func retry() async throws {
        try await database.query(
            "UPDATE app.session_progress SET status = 'pending' WHERE session_id = \(session.rawValue)")
    }

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

/// Checks the order of the events of one stream (docs/streams.md, "Order and resumption").
func expectInOrder(_ events: [StreamedEvent], sourceLocation: SourceLocation = #_sourceLocation) throws {
    var last: (version: Int, attempt: Int, progress: Int)?
    for event in events {
        let object = try event.json()
        let version = try #require(object["version"] as? Int, sourceLocation: sourceLocation)
        let attempt = try #require(object["attempt"] as? Int, sourceLocation: sourceLocation)
        let progress = try #require(object["progress"] as? Int, sourceLocation: sourceLocation)
        #expect(event.id == String(version), sourceLocation: sourceLocation)
        if let last {
            #expect(version > last.version, "ids strictly increase", sourceLocation: sourceLocation)
            #expect(attempt >= last.attempt, sourceLocation: sourceLocation)
            #expect(
                attempt > last.attempt || progress >= last.progress, "progress falls", sourceLocation: sourceLocation)
        }
        last = (version, attempt, progress)
    }
}
