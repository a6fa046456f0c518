import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The sign-in of a request ends while the database is at work on it.
@Suite(.deadline) struct EndedRightTests {
    /// A request of an administrator, and the table whose lock holds it up after its first checks.
    struct HeldRequest: Sendable, CustomTestStringConvertible {
        var method: HTTPMethod
        var path: String
        var body: String?
        var table: String
        var end = End.signedOut

        var testDescription: String { "\(method) \(path) \(end)" }

        static let all =
            End.allCases.flatMap { end in
                [
                    HeldRequest(
                        method: .POST, path: "/api/users",
                        body: #"{"email": "new@clinic.example", "full_name": "N", "role": "patient"}"#, table: "users",
                        end: end),
                    HeldRequest(
                        method: .PUT, path: "/api/therapists/THERAPIST/patients/PATIENT", table: "therapist_patients",
                        end: end),
                    HeldRequest(
                        method: .POST, path: "/api/webhooks", body: #"{"url": "https://example.org/hook"}"#,
                        table: "audit_log", end: end),
                ]
                // A change of an account locks the accounts of all administrators, and nobody can deactivate one meanwhile.
            } + [
                HeldRequest(method: .PATCH, path: "/api/users/PATIENT", body: #"{"full_name": "N"}"#, table: "users"),
                HeldRequest(
                    method: .PATCH, path: "/api/users/PATIENT", body: #"{"password": "a long password"}"#,
                    table: "users"),
            ]
    }

    enum End: String, CaseIterable, Sendable {
        case signedOut
        case deactivated
    }

    /// The lock conflicts with a change of the table, and not with the reads before it.
    ///
    /// The change therefore begins after the sign-in has ended.
    @Test(
        "The answer is 401 or 403, as for a request that comes later, and nothing changes", arguments: HeldRequest.all)
    func ends(_ request: HeldRequest) async throws {
        try await withClinic { clinic in
            let path = request.path.replacing("THERAPIST", with: "\(clinic.id(.stranger))")
                .replacing("PATIENT", with: "\(clinic.id(.patient))")
            try await clinic.database.withConnection { holder in
                try await holder.executeScript("BEGIN; LOCK TABLE app.\(request.table) IN SHARE MODE")
                async let answer = clinic.request(
                    request.method, path, as: .admin,
                    headers: request.body == nil ? [:] : ["Content-Type": "application/json"], body: request.body)
                try await clinic.database.untilSomeoneWaitsForALock()
                switch request.end {
                case .signedOut:
                    try await holder.executeScript(
                        """
                        UPDATE app.auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out'
                        WHERE user_id = '\(clinic.id(.admin))'; COMMIT
                        """)
                    expectProblem(try await answer, 401, "unauthorized")
                case .deactivated:
                    try await holder.executeScript(
                        "UPDATE app.users SET is_active = false WHERE id = '\(clinic.id(.admin))'; COMMIT")
                    expectProblem(try await answer, 403, "account-inactive")
                }
            }
            let changed = "SELECT FROM app.users WHERE full_name = 'N' OR password_hash IS NOT NULL"
            #expect(try await clinic.database.query("\(unescaped: changed)").isEmpty)
            #expect(
                try await clinic.database.query(
                    "SELECT FROM app.therapist_patients WHERE therapist_id = \(clinic.id(.stranger).rawValue)"
                ).isEmpty)
            #expect(try await clinic.database.query("SELECT FROM app.webhooks").isEmpty)
        }
    }
}
