import Domain
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The statuses and transitions, from `app.statuses` and `app.status_transitions`.
struct StatusParts {
    private struct Row {
        let status: SessionStatus
        let floor: Int
        let isFinished: Bool
        let next: [SessionStatus]
    }

    private let rows: [Row]

    init(of database: TestDatabase) async throws {
        let rows = try await database.query(
            """
            SELECT status, floor, is_finished,
                   ARRAY(SELECT to_status FROM app.status_transitions WHERE from_status = status) AS next
            FROM app.statuses
            """
        ).map { try $0.decode((String, Int, Bool, [String]).self) }
        try #require(Set(rows.map(\.0)) == Set(SessionStatus.allCases.map(\.rawValue)))
        self.rows = SessionStatus.allCases.flatMap { status in
            rows.filter { $0.0 == status.rawValue }.map { _, floor, isFinished, next in
                Row(
                    status: status, floor: floor, isFinished: isFinished,
                    next: SessionStatus.allCases.filter { next.contains($0.rawValue) })
            }
        }
    }

    var statuses: String {
        table(
            ["status", "meaning", "starts at", "finished"],
            rows.map { row in
                [
                    "`\(row.status.rawValue)`", Self.meaning(of: row.status), "\(row.floor) %",
                    row.isFinished ? "yes" : "no",
                ]
            })
    }

    /// - Throws: The failed requirement if an unfinished status cannot become `failed`.
    func transitions() throws -> String {
        for row in rows where !row.isFinished { try #require(row.next.contains(.failed), "\(row.status)") }
        let arrows = rows.flatMap { row in
            row.next.filter { $0 != .failed }.map { next in
                "    \(row.status.rawValue) --> \(next.rawValue)" + (row.isFinished ? " : retry" : "")
            }
        }
        let diagram = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"] + arrows + ["```"]
        return diagram.joined(separator: "\n") + "\n\nAny unfinished session can become `failed`."
    }

    private static func meaning(of status: SessionStatus) -> String {
        switch status {
        case .uploading: "the bytes of the recording arrive"
        case .pending: "waits for a recording or a worker"
        case .preprocessing: "a worker prepares the recording"
        case .transcribing: "speech is recognized"
        case .diarizing: "speakers are told apart"
        case .transcribed: "the transcript is stored"
        case .extractingNotes: "notes are written"
        case .processed: "done"
        case .failed: "stopped by an error"
        }
    }
}
