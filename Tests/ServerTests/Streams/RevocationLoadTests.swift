import Domain
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A right that ends while many clients receive many changes.
@Suite(.deadline) struct RevocationLoadTests {
    enum StreamKind: CaseIterable, Sendable {
        case session, caseload

        /// The event that ends the snapshot.
        var endOfSnapshot: String { self == .session ? "progress" : "ready" }
        var endOfRight: String { self == .session ? "revoked" : "session_removed" }
    }

    /// The events about the session that one client received.
    private struct Shown: Sendable {
        var isLost: Bool
        var events: [StreamedEvent]
    }

    @Test(
        "Clients without the right receive nothing that was committed with its end or later, and others everything",
        arguments: StreamKind.allCases, [true, false])
    func half(kind: StreamKind, isNotified: Bool) async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "0.05", "SSE_MAX_STREAMS_PER_USER": "100"]) { server in
            let scene = try await RightsScene(server)
            // A session of another patient, which all clients may see to the end.
            let other = try await server.database.addUser(.patient)
            for therapist in [scene.therapist, scene.colleague] {
                try await server.database.assign(therapist, to: other)
            }
            let marker = try await server.database.addSession(of: other)
            let (opened, open) = AsyncStream.makeStream(of: Void.self)
            let (completed, complete) = AsyncStream.makeStream(of: Void.self)
            try await withThrowingTaskGroup(of: Shown.self) { watchers in
                for number in 0..<60 {
                    let isLost = number.isMultiple(of: 2)
                    watchers.addTask {
                        let token = isLost ? scene.token : scene.colleagueToken
                        let path = kind == .session ? scene.path : Clinic.streamOfAll
                        return try await server.withStream(path, headers: ["Authorization": "Bearer \(token)"]) {
                            while let event = try await $0.next(), event.event != kind.endOfSnapshot {}
                            open.yield()
                            var events: [StreamedEvent] = []
                            while let event = try await $0.next() {
                                let text = event.data ?? ""
                                if text.contains("\(marker)") { break }
                                if text.contains("\(scene.session)") { events.append(event) }
                                if event.event == "complete" { break }
                            }
                            if !isLost { complete.yield() }
                            return Shown(isLost: isLost, events: events)
                        }
                    }
                }
                try await opened.wait(for: 60)
                for progress in 20...39 { try await scene.database.report(scene.session, .transcribing, progress) }
                try await scene.database.withConnection { connection in
                    try await connection.executeScript(
                        """
                        BEGIN;
                        \(isNotified ? "" : "SET LOCAL session_replication_role = replica;")
                        UPDATE app.therapist_patients SET is_active = false
                        WHERE therapist_id = '\(scene.therapist)' AND patient_id = '\(scene.patient)';
                        \(isNotified ? "" : scene.logStatement)
                        SET LOCAL session_replication_role = origin;
                        SELECT app.report_progress('\(scene.session)', 'transcribing', 40); COMMIT
                        """)
                }
                for progress in 41...59 { try await scene.database.report(scene.session, .transcribing, progress) }
                try await scene.database.report(scene.session, .transcribed, 60)
                try await scene.database.report(scene.session, .processed, 100)
                // A batch of reads has no order in time. This change comes after the other clients have received the
                // end.
                try await completed.wait(for: 30)
                try await scene.database.report(marker, .transcribing, 99)
                for try await shown in watchers {
                    let states = shown.events.compactMap(\.progress)
                    #expect(states == states.sorted())
                    if shown.isLost {
                        #expect(states.allSatisfy { $0 < 40 }, "\(states)")
                        #expect(shown.events.map(\.event).filter { $0 != "progress" } == [kind.endOfRight])
                        #expect(shown.events.last?.event == kind.endOfRight)
                    } else {
                        #expect(states.last == 100)
                        #expect(shown.events.last?.event == "complete")
                    }
                }
            }
        }
    }
}
