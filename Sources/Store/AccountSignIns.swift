public import Domain
import Postgres

// The sign-ins and the password of an account, for its user and for administrators. The database refuses other acting users.
extension UserStore {
    /// The sign-ins of an account that have not ended, the newest first.
    ///
    /// - Parameter user: The account.
    /// - Returns: The sign-ins; none if the acting user may not see them.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func signIns(of user: UserID) async throws -> [SignInRecord] {
        try await perform { connection in
            try await connection.query("SELECT * FROM app.sign_ins_of(\(user))").map { row in
                SignInRecord(
                    id: try row.decode("id", as: SignInID.self),
                    createdAt: try row.decode("created_at", as: Timestamp.self),
                    lastUsedAt: try row.decode("last_used_at", as: Timestamp.self),
                    userAgent: try row.decode("user_agent", as: String?.self),
                    address: try row.decode("address", as: String?.self))
            }
        }
    }

    /// Ends one sign-in of an account, or all of them.
    ///
    /// - Parameters:
    ///   - signIn: The sign-in; nil for all.
    ///   - user: The account.
    /// - Returns: False if the account or its sign-in does not exist, or the acting user may not end it. A sign-in that has
    ///   ended already counts as ended.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func end(_ signIn: SignInID?, of user: UserID) async throws -> Bool {
        try await perform { connection in
            let rows = try await connection.query("SELECT app.end_sign_ins_of(\(user), \(signIn)) AS is_ended")
            return try rows.first?.decode("is_ended", as: Bool.self) ?? false
        }
    }

    /// The outcome of a change of the user's own password.
    public enum PasswordChange: Sendable {
        /// The password is changed. All sign-ins of the account but the present one have ended.
        case changed
        /// The present password is wrong.
        case wrong
        /// The present sign-in has ended.
        case signedOut
    }

    /// Changes the password of the user of a sign-in.
    ///
    /// - Parameters:
    ///   - presented: The present hash, as for ``compare(_:of:)``.
    ///   - hash: The hash of the new password.
    ///   - principal: The user, and the sign-in that goes on.
    /// - Returns: The outcome.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func changePassword(
        _ presented: String, to hash: String, of principal: Principal
    ) async throws -> PasswordChange {
        try await acting(as: principal).perform { connection in
            let rows = try await connection.query(
                """
                SELECT app.change_password(\(principal.user), \(principal.signIn), \(presented), \(hash)) AS outcome
                """)
            return switch try rows.first?.decode("outcome", as: String.self) {
            case "changed": .changed
            case "wrong": .wrong
            default: .signedOut
            }
        }
    }
}
