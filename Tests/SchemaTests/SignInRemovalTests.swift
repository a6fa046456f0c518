import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import Testing

/// The deletion of expired sign-ins and refresh tokens.
@Suite struct SignInRemovalTests {
    private static let forget: PostgresQuery = "SELECT app.delete_expired_sign_ins('30 days', 10)"

    /// Adds a sign-in and refresh tokens that expire at given times from now.
    private func addSignIn(
        _ database: TestDatabase, of user: UserID, endsIn end: String, tokensEndIn tokenEnds: [String]
    ) async throws -> UUID {
        let id = UUID()
        try await database.query(
            "INSERT INTO app.auth_sessions (id, user_id, expires_at) VALUES (\(id), \(user), now() + \(end)::text::interval)"
        )
        for tokenEnd in tokenEnds {
            try await database.query(
                """
                INSERT INTO app.refresh_tokens (token_hash, auth_session_id, expires_at)
                VALUES (sha256(\(UUID())::text::bytea), \(id), now() + \(tokenEnd)::text::interval)
                """)
        }
        return id
    }

    private func signIns(_ database: TestDatabase) async throws -> Set<UUID> {
        Set(try await database.query("SELECT id FROM app.auth_sessions").map { try $0.decode(0, as: UUID.self) })
    }

    @Test("Sign-ins that expired long ago are deleted with their tokens, and no right changes")
    func removal() async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.patient)
            _ = try await addSignIn(database, of: user, endsIn: "-31 d", tokensEndIn: ["-40 d", "-31 d"])
            let ended = try await addSignIn(database, of: user, endsIn: "-29 d", tokensEndIn: ["-29 d"])
            let active = try await addSignIn(
                database, of: user, endsIn: "1 d", tokensEndIn: ["-31 d", "-1 d", "1 d"])
            try await withNotifications(of: database) { notifications in
                let forgotten = try await database.query(Self.forget, as: "therapybridge_server")
                // One sign-in, its two tokens, and one token of the active sign-in.
                #expect(try forgotten[0].decode(0, as: Int64.self) == 4)
                #expect(try await notifications.received() == [])
            }
            #expect(try await signIns(database) == [ended, active])
            let tokens = try await database.query("SELECT count(*) FROM app.refresh_tokens")
            #expect(try tokens[0].decode(0, as: Int64.self) == 3)
            #expect(try await database.query(Self.forget)[0].decode(0, as: Int64.self) == 0)
        }
    }

    @Test("Expired sign-ins are deleted in portions, oldest first")
    func portions() async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.patient)
            try await database.query(
                """
                INSERT INTO app.auth_sessions (user_id, expires_at)
                SELECT \(user), now() - n * interval '31 d' FROM generate_series(1, 25) AS n
                """)
            for left: Int64 in [15, 5, 0] {
                _ = try await database.query(Self.forget)
                let rows = try await database.query(
                    "SELECT count(*), min(expires_at) > now() - \(Int32(left)) * interval '32 d' FROM app.auth_sessions"
                )
                #expect(try rows[0].decode(0, as: Int64.self) == left)
                if left > 0 { #expect(try rows[0].decode(1, as: Bool.self)) }
            }
        }
    }

    @Test("The deletion skips a sign-in whose token another transaction has locked")
    func locked() async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.patient)
            let old = try await addSignIn(database, of: user, endsIn: "-31 d", tokensEndIn: ["-31 d"])
            try await database.withConnection { holder in
                try await holder.withTransaction { holder in
                    _ = try await holder.query("SELECT FROM app.refresh_tokens FOR UPDATE")
                    #expect(try await database.query(Self.forget)[0].decode(0, as: Int64.self) == 0)
                    #expect(try await signIns(database) == [old])
                }
            }
            #expect(try await database.query(Self.forget)[0].decode(0, as: Int64.self) == 2)
        }
    }
}
