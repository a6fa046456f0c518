import Domain
import Postgres
import PostgresTestSupport
import Store
import Testing

/// A caller who reports in a batch.
struct Reporter: Sendable {
    var user: UserID
    var signIn: SignInID
}

/// The outcome of one report: a version, or the SQLSTATE of a refusal with its code and the values of its words.
enum ReportAnswer: Equatable {
    case version(Int)
    case refusal(String, String?, values: String? = nil)

    var code: String? { if case .refusal(let code, _, _) = self { code } else { nil } }
}

extension TestDatabase {
    /// Adds an account with a sign-in.
    func addReporter(_ role: Role = .pipeline) async throws -> Reporter {
        let user = try await addUser(role)
        return Reporter(user: user, signIn: try await addSignIn(of: user))
    }
}

extension PostgresConnection {
    /// Reports in one batch.
    ///
    /// - Parameters:
    ///   - reports: The reports with their sessions.
    ///   - reporters: The callers.
    ///   - callers: The index, from 1, of each report's caller among the reporters; nil for the first one.
    ///   - waits: Whether the batch waits for locks.
    /// - Returns: The outcome of each report, in the same order.
    /// - Throws: ``PostgresError`` if nothing was written.
    func reportBatch(
        _ reports: [(SessionID?, Report)], by reporters: [Reporter], callers: [Int32?]? = nil, waits: Bool = true
    ) async throws -> [ReportAnswer] {
        let rows = try await query(
            """
            SELECT report, version, code, reason, detail, (state).version AS state_version FROM app.report_progress_batch(
                \(reporters.map(\.user)), \(reporters.map(\.signIn)),
                \(callers ?? Array(repeating: 1, count: reports.count)), \(reports.map(\.0)),
                \(reports.map(\.1.status)), \(reports.map { $0.1.progress.map { Int32($0) } }),
                \(reports.map(\.1.message)), \(reports.map(\.1.error)),
                \(reports.map { $0.1.estimate.map { Int32($0) } }), \(reports.map { $0.1.attempt.map { Int32($0) } }),
                \(reports.map(\.1.lease)), \(reports.map { _ in true }), \(waits))
            ORDER BY report
            """)
        #expect(try rows.map { Int(try $0.decode("report", as: Int32.self)) } == Array(1...reports.count))
        return try rows.map { row in
            let version = try row.decode("version", as: Int64?.self)
            #expect(try row.decode("state_version", as: Int64?.self) == version, "the state is the report's own")
            if let version { return .version(Int(version)) }
            return .refusal(
                try row.decode("code", as: String.self), try row.decode("reason", as: String.self),
                values: try row.decode("detail", as: String?.self))
        }
    }

    /// Makes a single report.
    func answer(to report: Report, of session: SessionID?) async throws -> ReportAnswer {
        do {
            return .version(
                Int(
                    try await query(
                        """
                        SELECT app.report_progress(\(session), \(report.status), \(report.progress.map { Int32($0) }),
                            \(report.message), \(report.error), \(report.estimate.map { Int32($0) }),
                            \(report.attempt.map { Int32($0) }), \(report.lease)) AS version
                        """)[0].decode("version", as: Int64.self)))
        } catch let error as PostgresError {
            let server = try #require(error.server)
            return .refusal(server.sqlState.code, server.constraintName, values: server.detail)
        }
    }
}
