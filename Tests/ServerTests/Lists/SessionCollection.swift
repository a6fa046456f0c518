import Domain
import Foundation
import Postgres
import PostgresTestSupport
import PropertySupport
import ServerTestSupport
import Testing

/// Random sessions of a few patients, and what a list of them has to answer.
struct SessionCollection: Sendable {
    /// A session, as the database has it.
    struct Entry: Sendable {
        var id: SessionID
        var patient: UserID
        var patientName: String
        var filename: String?
        var status: SessionStatus
        var createdAt: Timestamp
        var sessionDate: Timestamp?

        /// When the session took place; if that is not known, when it was created.
        var heldAt: Timestamp { sessionDate ?? createdAt }
    }

    /// The parameters of a list.
    struct Filter: Sendable {
        var statuses: [SessionStatus] = []
        var patient: UserID?
        var text: String?
        var from: Timestamp?
        var to: Timestamp?
        var sort: String?

        /// The query string, without limit and cursor.
        var query: String {
            var parameters: [(String, String)] = []
            if !statuses.isEmpty { parameters.append(("status", statuses.map(\.rawValue).joined(separator: ","))) }
            if let patient { parameters.append(("patient_id", patient.description)) }
            if let text { parameters.append(("q", text)) }
            if let from { parameters.append(("from", from.description)) }
            if let to { parameters.append(("to", to.description)) }
            if let sort { parameters.append(("sort", sort)) }
            return parameters.map { "\($0)=\($1.percentEncoded)" }.joined(separator: "&")
        }

        /// Whether a session passes all parameters but `status`.
        func selects(_ entry: Entry) -> Bool {
            if let patient, entry.patient != patient { return false }
            if let from, entry.heldAt < from { return false }
            if let to, entry.heldAt >= to { return false }
            guard let text, !text.isEmpty else { return true }
            func form(_ text: String) -> String { text.precomposedStringWithCanonicalMapping.lowercased() }
            return [entry.patientName, entry.filename ?? ""].contains { form($0).contains(form(text)) }
        }
    }

    /// The names of the patients.
    static let names = ["Anna 100%", "Björn Müller", "C:\\Doe_"]
    /// The names of the files; one is in the normal form NFD, as macOS writes it.
    private static let filenames: [String?] = [
        nil, "a_b.mp3", "aXb.mp3", "100%.wav", "100.wav", "back\\slash.ogg", "MU\u{308}LLER.m4a", "session 7.flac",
    ]
    /// Parts of these names, and texts that are in none.
    static let texts = ["a_b", "%", "_", "\\", "MÜLLER", "müller", "100", "SESSION", "", "nobody", "a%b", "ö"]

    var entries: [Entry] = []

    /// Adds random sessions to a database: with equal times, without dates, and in every status.
    init(of patients: [UserID], count: Int, in database: TestDatabase, _ generator: inout SeededGenerator) async throws
    {
        for (patient, name) in zip(patients, Self.names) {
            try await database.query("UPDATE app.users SET full_name = \(name) WHERE id = \(patient.rawValue)")
        }
        for _ in 0..<count {
            let patient = Int.random(in: patients.indices, using: &generator)
            let created = Self.time(&generator)
            entries.append(
                Entry(
                    id: .random(), patient: patients[patient], patientName: Self.names[patient],
                    filename: generator.pick(Self.filenames), status: generator.pick(SessionStatus.allCases),
                    createdAt: created, sessionDate: generator.happens(oneIn: 3) ? nil : Self.time(&generator)))
        }
        for entry in entries { try await Self.add(entry, to: database) }
    }

    /// A time of few, for sessions of the same microsecond.
    static func time(_ generator: inout SeededGenerator) -> Timestamp {
        Timestamp(
            microsecondsSinceEpoch: 1_700_000_000_000_000 + Int64.random(in: 0..<12, using: &generator) * 3_600_000_001)
    }

    /// Adds a session, and takes it to its status.
    private static func add(_ entry: Entry, to database: TestDatabase) async throws {
        try await database.query(
            """
            INSERT INTO app.therapy_sessions (id, patient_id, filename, session_date, created_at)
            VALUES (\(entry.id.rawValue), \(entry.patient.rawValue), \(entry.filename),
                    \(entry.sessionDate?.postgres)::timestamptz, \(entry.createdAt.postgres))
            """)
        let way: [SessionStatus] =
            switch entry.status {
            case .pending: []
            case .diarizing: [.transcribing]
            case .transcribed: [.transcribing]
            case .extractingNotes, .processed: [.transcribing, .transcribed]
            case .uploading, .preprocessing, .transcribing, .failed: []
            }
        for status in way + (entry.status == .pending ? [] : [entry.status]) {
            try await database.query(
                "UPDATE app.session_progress SET status = \(status.rawValue) WHERE session_id = \(entry.id.rawValue)")
        }
    }

    /// The ids that a list has to show, in its order.
    func ids(_ filter: Filter, within patients: Set<UserID>) -> [String] {
        entries.filter { patients.contains($0.patient) && filter.selects($0) }
            .filter { filter.statuses.isEmpty || filter.statuses.contains($0.status) }
            .sorted {
                let (first, second) =
                    filter.sort == "session_date" ? ($0.heldAt, $1.heldAt) : ($0.createdAt, $1.createdAt)
                return (first, $0.id.description) > (second, $1.id.description)
            }
            .map(\.id.description)
    }

    /// The counts that a list has to show.
    func counts(_ filter: Filter, within patients: Set<UserID>) -> [String: Int] {
        let selected = entries.filter { patients.contains($0.patient) && filter.selects($0) }
        return Dictionary(
            uniqueKeysWithValues: SessionStatus.allCases.map { status in
                (status.rawValue, selected.count { $0.status == status })
            })
    }
}

extension Timestamp {
    /// The time as a parameter of a statement.
    fileprivate var postgres: PostgresTimestamp {
        PostgresTimestamp(microsecondsSinceEpoch: microsecondsSinceEpoch)
    }
}

extension String {
    /// The text as a value in a query string.
    var percentEncoded: String {
        utf8.map { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"):
                String(UnicodeScalar(byte))
            default: "%" + String(String(Int(byte) + 256, radix: 16).dropFirst())
            }
        }.joined()
    }
}
