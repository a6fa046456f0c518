import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Streams that open while the state changes.
///
/// In every order, the last event is the state of the database.
@Suite(.deadline) struct StreamRaceTests {
    /// Fifty clients open twenty streams each.
    ///
    /// The next poll comes after the end of the test, so it cannot repair a lost change.
    @Test("A thousand streams that open during changes all arrive at the state of the database")
    func thousand() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600", "SSE_MAX_STREAMS_PER_USER": "1000"]) { server in
            let patient = try await server.database.addUser(.patient)
            let token = try await server.token(patient)
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for client in 0..<50 {
                    clients.addTask {
                        try await server.database.withConnection(as: "therapybridge_pipeline") { pipeline in
                            for round in 0..<20 {
                                let session = try await server.database.addSession(of: patient)
                                try await race(
                                    server, token, session, pipeline, isToTheEnd: (client + round).isMultiple(of: 3))
                            }
                        }
                    }
                }
                try await clients.waitForAll()
            }
        }
    }

    private func race(
        _ server: TestServer, _ token: String, _ session: SessionID, _ pipeline: PostgresConnection, isToTheEnd: Bool
    ) async throws {
        async let seen = watch(server, token, session, isToTheEnd: isToTheEnd)
        let version = try await work(on: session, pipeline, isToTheEnd: isToTheEnd)
        let (events, status) = try await seen
        #expect(events.last?.version == Int(version))
        #expect(status == (isToTheEnd ? "processed" : "transcribed"))
        try expectInOrder(events)
        // The transitions after the first event: 2, 3, 6 after the percentages, and at the end 7.
        let expected = [2, 3, 6] + (isToTheEnd ? [7] : [])
        let first = events.first?.version ?? 0
        #expect(
            expected.filter { $0 > first } == expected.filter { v in events.dropFirst().contains { $0.version == v } })
    }

    /// Seven changes, or six, as fast as the database accepts them.
    private func work(on session: SessionID, _ pipeline: PostgresConnection, isToTheEnd: Bool) async throws -> Int64 {
        var version: Int64 = 0
        let steps: [(SessionStatus, Int32)] = [
            (.preprocessing, 20), (.transcribing, 20), (.transcribing, 30), (.transcribing, 40), (.transcribed, 60),
            (.processed, 100),
        ]
        for (status, progress) in isToTheEnd ? steps[...] : steps.dropLast() {
            version = try await pipeline.query(
                "SELECT app.report_progress(\(session.rawValue), \(status.rawValue), \(progress)) AS version"
            )[0].decode("version", as: Int64.self)
        }
        return version
    }

    /// Reads the stream up to the last state.
    private func watch(
        _ server: TestServer, _ token: String, _ session: SessionID, isToTheEnd: Bool
    ) async throws -> (events: [StreamedEvent], status: String?) {
        let headers: HTTPHeaders = ["Authorization": "Bearer \(token)"]
        return try await server.withStream("/api/sessions/\(session)/status/stream", headers: headers) { reader in
            var events: [StreamedEvent] = []
            while let event = try await reader.nextEvent() {
                events.append(event)
                if !isToTheEnd, event.status == "transcribed" { break }
            }
            return (events, events.last?.status)
        }
    }
}
