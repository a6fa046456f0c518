import Domain
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "Order and resumption": ids strictly increase, progress never falls within an attempt, and no
/// transition is skipped.
@Suite(.deadline) struct StreamOrderTests {
    /// Follows a session as a browser does: after each end the client resumes with the last id, until the session is
    /// processed.
    private func follow(_ scene: StreamScene, started: AsyncStream<Void>.Continuation) async throws -> [StreamedEvent] {
        var events: [StreamedEvent] = []
        while true {
            let isDone = try await scene.withStream(lastEventID: events.last?.id) { reader in
                if reader.status == 204 {
                    // 204: the client has seen the failure, and no one has retried yet.
                    return false
                }
                var here: [StreamedEvent] = []
                while let event = try await reader.nextEvent() {
                    here.append(event)
                    started.yield()
                    if event.event == "complete" { break }
                }
                try expectInOrder(here)
                // A resumed stream may begin with the state that the last one ended with.
                events += here.drop { $0.version == events.last?.version }
                return here.last?.event == "complete"
            }
            if isDone { return events }
        }
    }

    @Test(
        "While percentages race with transitions, failures and retries, every client receives every transition once",
        arguments: HintSource.allCases)
    func race(source: HintSource) async throws {
        try await withStreamScene(source.settings(interval: 2)) { scene in
            try await withThrowingTaskGroup(of: [StreamedEvent].self) { watchers in
                let (starts, started) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(4))
                for _ in 0..<4 { watchers.addTask { try await follow(scene, started: started) } }
                _ = await starts.first { true }
                for attempt in 1...4 {
                    try await scene.report(.preprocessing, 20)
                    try await scene.report(.transcribing, 20)
                    try await racePercentages(scene, .transcribing, 20...60)
                    if attempt.isMultiple(of: 2) {
                        try await scene.report(.failed, 40, error: "No speech.")
                        try await scene.retry()
                        continue
                    }
                    try await scene.report(.diarizing, 60)
                    try await scene.report(.transcribed, 60)
                    try await scene.report(.extractingNotes, 60)
                    try await racePercentages(scene, .extractingNotes, 60...95)
                    if attempt == 3 { break }
                    try await scene.report(.failed, 95, error: "No notes.")
                    try await scene.retry()
                }
                try await scene.report(.processed, 100)
                let transitions = try await scene.transitions()
                for try await events in watchers {
                    try expectInOrder(events)
                    let seen = Set(events.compactMap(\.version))
                    let first = try #require(events.first?.version)
                    #expect(transitions.filter { $0 > first && !seen.contains($0) } == [], "skipped")
                    #expect(events.last?.event == "complete")
                }
            }
        }
    }

    /// Reports from four connections at once.
    ///
    /// The late ones report a smaller percentage.
    private func racePercentages(
        _ scene: StreamScene, _ status: SessionStatus, _ range: ClosedRange<Int>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { reporters in
            for offset in 0..<4 {
                reporters.addTask {
                    try await scene.database.withConnection(as: "therapybridge_pipeline") { connection in
                        for progress in stride(from: range.lowerBound + offset, through: range.upperBound, by: 3) {
                            _ = try await connection.query(
                                """
                                SELECT app.report_progress(
                                    \(scene.session.rawValue), \(status.rawValue), \(Int32(progress)))
                                """)
                        }
                    }
                }
            }
            try await reporters.waitForAll()
        }
    }

    /// More than a mailbox holds, so the server reads the transitions from the database.
    @Test("A hundred transitions in one commit are all sent, in order", arguments: HintSource.allCases)
    func hundredAtOnce(source: HintSource) async throws {
        try await withStreamScene(source.settings(interval: 2)) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.database.query(
                    """
                    DO $$
                    BEGIN
                        FOR i IN 1..50 LOOP
                            PERFORM app.report_progress('\(unescaped: scene.session.description)', 'failed', 0, NULL, 'E' || i);
                            UPDATE app.session_progress SET status = 'pending'
                            WHERE session_id = '\(unescaped: scene.session.description)';
                        END LOOP;
                    END $$
                    """)
                let events = try await reader.events(upTo: 101)
                #expect(events.compactMap(\.version) == Array(2...101))
                #expect(events.allSatisfy { $0.event == "progress" })
                try expectInOrder(events)
            }
        }
    }

    @Test("A report that is repeated, late or lower is not sent")
    func staleReports() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 40)
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                for progress in [40, 39, 0, 40] { try await scene.report(.transcribing, progress) }
                let version = try await scene.report(.transcribing, 41)
                let event = try await reader.next("progress")
                #expect(event.version == version)
                #expect(event.version == 3)
            }
        }
    }

    @Test("A message that looks like an event stays inside its event")
    func hostileWords() async throws {
        try await withStreamScene { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                let words = "a\n\nid: 9\nevent: complete\ndata: {}\n\nb\r\u{0B}\u{7F}\u{85}\u{2028}\"\\"
                try await scene.report(.transcribing, 20, message: words)
                let event = try await reader.next("progress")
                #expect(event.id == "2")
                let message = try #require(try event.json()["message"] as? String)
                #expect(message.hasPrefix("a "))
                #expect(message.hasSuffix("\"\\"))
                try await scene.report(.transcribing, 21, message: "after")
                #expect(try await reader.next("progress").id == "3")
            }
        }
    }
}
