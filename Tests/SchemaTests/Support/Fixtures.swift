import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import Testing

/// A row of `app.session_progress`, without its times.
struct ProgressRow: Equatable {
    var status: SessionStatus
    var progress: Int
    var message: String?
    var error: String?
    var estimate: Int?
    var version: Int
    var attempt: Int
}

/// A report of a pipeline; nil for a value that it leaves out.
struct Report: Sendable, CustomTestStringConvertible {
    var title: String
    var status: String?
    var progress: Int?
    var message: String?
    var error: String?
    var estimate: Int?
    var attempt: Int?
    var lease: String?

    init(
        _ title: String, _ status: String?, _ progress: Int?, message: String? = nil, error: String? = nil,
        estimate: Int? = nil, attempt: Int? = nil, lease: String? = nil
    ) {
        self.title = title
        self.status = status
        self.progress = progress
        self.message = message
        self.error = error
        self.estimate = estimate
        self.attempt = attempt
        self.lease = lease
    }

    init(
        _ status: String, _ progress: Int, message: String? = nil, error: String? = nil, estimate: Int? = nil,
        attempt: Int? = nil, lease: String? = nil
    ) {
        self.init(
            "\(status) \(progress)", status, progress, message: message, error: error, estimate: estimate,
            attempt: attempt, lease: lease)
    }

    var testDescription: String { title }

    /// The call of `app.report_progress`.
    func query(of session: SessionID) -> PostgresQuery {
        """
        SELECT app.report_progress(\(session), \(status), \(progress.map { Int32($0) }), \(message), \(error),
            \(estimate.map { Int32($0) }), \(attempt.map { Int32($0) }), \(lease)) AS version
        """
    }
}

/// Allowed transitions by which a session gets to each status.
let waysTo: [SessionStatus: [SessionStatus]] = [
    .pending: [],
    .uploading: [.uploading],
    .preprocessing: [.preprocessing],
    .transcribing: [.transcribing],
    .diarizing: [.transcribing, .diarizing],
    .transcribed: [.transcribing, .transcribed],
    .extractingNotes: [.transcribing, .transcribed, .extractingNotes],
    .processed: [.transcribing, .transcribed, .processed],
    .failed: [.failed],
]

extension PostgresConnection {
    /// Adds a patient and a session, with or without a recording.
    func addSession(recording: String? = nil) async throws -> SessionID {
        let (patient, session) = (UserID.random(), SessionID.random())
        _ = try await query(
            """
            INSERT INTO app.users (id, email, full_name, role)
            VALUES (\(patient), \("\(patient)@test.example"), 'Test Person', 'patient')
            """)
        _ = try await query(
            "INSERT INTO app.therapy_sessions (id, patient_id, recording) VALUES (\(session), \(patient), \(recording))"
        )
        return session
    }

    /// Adds a session and takes it to a status by allowed transitions.
    func addSession(in status: SessionStatus, at progress: Int = 10, recording: String? = nil) async throws -> SessionID
    {
        let session = try await addSession(recording: recording)
        for step in waysTo[status] ?? [] { try await report(Report(step.rawValue, progress), session) }
        return session
    }

    /// Reports progress.
    ///
    /// - Returns: The version afterwards.
    @discardableResult
    func report(_ report: Report, _ session: SessionID) async throws -> Int {
        Int(try await query(report.query(of: session))[0].decode("version", as: Int64.self))
    }

    /// The present state.
    func progress(of session: SessionID) async throws -> ProgressRow {
        let row = try await query(
            """
            SELECT status, progress, message, error, estimated_time_remaining, version, attempt
            FROM app.session_progress WHERE session_id = \(session)
            """)[0]
        return ProgressRow(
            status: try row.decode("status", as: SessionStatus.self),
            progress: Int(try row.decode("progress", as: Int16.self)),
            message: try row.decode("message", as: String?.self), error: try row.decode("error", as: String?.self),
            estimate: try row.decode("estimated_time_remaining", as: Int32?.self).map { Int($0) },
            version: Int(try row.decode("version", as: Int64.self)),
            attempt: Int(try row.decode("attempt", as: Int32.self)))
    }

    /// The versions and statuses of the transitions, oldest first.
    func transitions(of session: SessionID) async throws -> [(Int, SessionStatus)] {
        try await query(
            "SELECT version, status FROM app.session_events WHERE session_id = \(session) ORDER BY version"
        ).map { (Int(try $0.decode("version", as: Int64.self)), try $0.decode("status", as: SessionStatus.self)) }
    }

    /// Writes without the guard, as only a superuser can, to stage a state that would take hours.
    func stage(_ query: PostgresQuery) async throws {
        try await executeScript("SET session_replication_role = replica")
        _ = try await self.query(query)
        try await executeScript("RESET session_replication_role")
    }

    /// Runs a query that the database should refuse.
    ///
    /// - Returns: The SQLSTATE; nil if the database did not refuse the query.
    func refusal(of query: PostgresQuery) async throws -> SQLState? {
        do {
            _ = try await self.query(query)
            return nil
        } catch let error as PostgresError {
            return error.sqlState
        }
    }
}

extension TestDatabase {
    /// Lends a connection of the schema's owner.
    func withOwner<Result>(_ body: (PostgresConnection) async throws -> Result) async throws -> Result {
        try await withConnection { connection in
            try await connection.executeScript("SET ROLE therapybridge_owner")
            return try await body(connection)
        }
    }
}
