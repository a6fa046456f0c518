import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Which changes of an account end its sign-ins, from any role, and what a sign-in has to prove.
@Suite(.deadline) struct SignInEndingTests {
    private static let hash = "$scrypt$ln=4,r=1,p=1$c2FsdA$a2V5"
    private static let otherHash = "$scrypt$ln=5,r=1,p=1$c2FsdA$a2V5"
    private static let terms = SignInStore.Terms(
        lifetime: .seconds(1000), maximumAge: .seconds(100_000), maximumCount: 3, grace: .seconds(10))

    /// An account with a password and two sign-ins, beside another account with one.
    private struct Account {
        let user: UserID
        let signIns: [SignInID]
        let stranger: SignInID

        init(_ database: TestDatabase) async throws {
            user = try await database.addUser(.therapist)
            try await database.query(
                "UPDATE app.users SET password_hash = \(SignInEndingTests.hash) WHERE id = \(user)")
            signIns = [try await database.addSignIn(of: user), try await database.addSignIn(of: user)]
            stranger = try await database.addSignIn(of: try await database.addUser(.patient))
        }

        /// The reasons by which its sign-ins have ended; nil for one that goes on.
        func reasons(_ database: TestDatabase) async throws -> [String?] {
            let strangers = try await database.query(
                "SELECT FROM app.auth_sessions WHERE id = \(stranger) AND revoked_at IS NULL")
            #expect(strangers.count == 1, "the other account's sign-in goes on")
            return try await signIns.asyncMap { signIn in
                let rows = try await database.query(
                    "SELECT revoked_reason, revoked_at IS NULL AS stands FROM app.auth_sessions WHERE id = \(signIn)")
                let reason = try rows[0].decode("revoked_reason", as: String?.self)
                #expect(try rows[0].decode("stands", as: Bool.self) == (reason == nil))
                return reason
            }
        }
    }

    @Test(
        "A deactivation, a new role and a new password in psql end all sign-ins of the account for good",
        arguments: [
            ("is_active = false", "is_active = true", "account_deactivated"),
            ("role = 'admin'", "role = 'therapist'", "role_changed"),
            ("password_hash = 'new'", "password_hash = '\(hash)'", "password_changed"),
            ("password_hash = NULL", "password_hash = '\(hash)'", "password_changed"),
        ])
    func byHand(_ change: String, _ back: String, _ reason: String) async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            for set in [change, back] {
                try await database.query("UPDATE app.users SET \(unescaped: set) WHERE id = \(account.user)")
                #expect(try await account.reasons(database) == [reason, reason])
            }
        }
    }

    @Test(
        "A new name and an activation end no sign-in",
        arguments: ["full_name = 'Other'", "is_active = true", "updated_at = now()"])
    func others(_ change: String) async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            try await database.query("UPDATE app.users SET \(unescaped: change) WHERE id = \(account.user)")
            #expect(try await account.reasons(database) == [nil, nil])
        }
    }

    @Test("The user's own change of the password spares the sign-in that makes it, and no setting spares another")
    func ownPassword() async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            let (own, other) = (account.signIns[0], account.signIns[1])
            func change(_ presented: String, under signIn: SignInID) async throws -> String {
                try await database.query(
                    "SELECT app.change_password(\(account.user), \(signIn), \(presented), \(Self.otherHash)) AS outcome",
                    as: "therapybridge_server")[0].decode("outcome", as: String.self)
            }
            #expect(try await change(Self.otherHash, under: own) == "wrong")
            #expect(try await change(Self.hash, under: account.stranger) == "signed out")
            #expect(try await change(Self.hash, under: .random()) == "signed out")
            #expect(try await account.reasons(database) == [nil, nil])

            #expect(try await change(Self.hash, under: own) == "changed")
            #expect(try await account.reasons(database) == [nil, "password_changed"])
            #expect(try await database.query("SELECT FROM app.password_changes").isEmpty)
            #expect(try await change(Self.otherHash, under: other) == "signed out")

            // The exception ends with the function that makes it.
            try await database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query(
                        "SELECT app.change_password(\(account.user), \(own), \(Self.otherHash), \(Self.hash))")
                    _ = try await connection.query(
                        "UPDATE app.users SET password_hash = NULL WHERE id = \(account.user)")
                }
            }
            #expect(try await account.reasons(database)[0] == "password_changed")
        }
    }

    @Test("A costlier hash of the same password ends no sign-in, and needs the present hash")
    func rehash() async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            func replace(_ presented: String) async throws -> Bool {
                try await database.query(
                    "SELECT app.rehash_password(\(account.user), \(presented), \(Self.otherHash)) AS is_replaced",
                    as: "therapybridge_server")[0].decode("is_replaced", as: Bool.self)
            }
            #expect(try await !replace("$scrypt$ln=4,r=1,p=1$c2FsdA$b2V5"))
            #expect(try await !replace(""))
            #expect(try await replace(Self.hash))
            #expect(try await account.reasons(database) == [nil, nil])
            #expect(try await database.query("SELECT FROM app.password_changes").isEmpty)
            let stored = try await database.query("SELECT password_hash FROM app.users WHERE id = \(account.user)")
            #expect(try stored[0].decode(0, as: String.self) == Self.otherHash)
        }
    }

    @Test("The server's role learns no hash, and begins no sign-in without one")
    func proof() async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                let email = "\(account.user)@test.example"
                let known = try await connection.query("SELECT * FROM app.account_by_address(\(email))")
                #expect(try known[0].decode("password_parameters", as: String?.self) == "$scrypt$ln=4,r=1,p=1$c2FsdA")
                #expect(throws: (any Error).self) { try known[0].decode("password_hash", as: String?.self) }

                func verdict(_ presented: String?, of user: UserID) async throws -> String {
                    try await connection.query("SELECT app.check_password(\(user), \(presented)) AS verdict")[0]
                        .decode("verdict", as: String.self)
                }
                func begins(_ presented: String?) async throws -> Bool {
                    try await !connection.query(
                        """
                        SELECT * FROM app.begin_sign_in(
                            \(account.user), \(presented), sha256(\(UUID())::text::bytea), '1 h', '1 d', 9, NULL, NULL)
                        """
                    ).isEmpty
                }
                for wrong in [nil, "", "$scrypt$ln=4,r=1,p=1$c2FsdA", "$scrypt$ln=4,r=1,p=1$c2FsdA$", "\\x"] {
                    #expect(try await verdict(wrong, of: account.user) == "wrong")
                    #expect(try await !begins(wrong))
                }
                #expect(try await verdict(Self.hash, of: .random()) == "wrong")
                #expect(try await verdict(Self.hash, of: account.user) == "right")
                #expect(try await begins(Self.hash))
                try await database.query("UPDATE app.users SET is_active = false WHERE id = \(account.user)")
                #expect(try await verdict(Self.hash, of: account.user) == "inactive")
                #expect(try await !begins(Self.hash))
                try await database.query(
                    "UPDATE app.users SET is_active = true, password_hash = NULL WHERE id = \(account.user)")
                #expect(try await verdict(nil, of: account.user) == "wrong")
                #expect(try await !begins(nil))
                // The parameters of a malformed hash never look like those of an account without a password.
                for malformed in ["plain", "$scrypt$ln=4,r=1,p=1$c2FsdA$", "$scrypt$ln=4,r=1,p=1$c2FsdA"] {
                    try await database.query(
                        "UPDATE app.users SET password_hash = \(malformed) WHERE id = \(account.user)")
                    let row = try await connection.query("SELECT * FROM app.account_by_address(\(email))")[0]
                    #expect(try row.decode("password_parameters", as: String?.self) == "")
                }
            }
        }
    }

    @Test("The server's role begins a sign-in of an identity provider only if the owner has registered the issuer")
    func provider() async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                func admit(_ issuer: String) -> PostgresQuery {
                    """
                    SELECT * FROM app.admit_sign_in(
                        gen_random_uuid(), \(issuer), \("\(account.user)@test.example"), now() + interval '1 h', '1 d', 9, NULL, NULL)
                    """
                }
                #expect(try await connection.refusal(of: admit("https://id.example")) == .insufficientPrivilege)
                try await database.query("INSERT INTO app.identity_providers (issuer) VALUES ('https://id.example')")
                #expect(try await connection.refusal(of: admit("https://other.example")) == .insufficientPrivilege)
                #expect(try await connection.query(admit("https://id.example")).count == 1)
            }
        }
    }

    @Test("Beyond the number per account the oldest sign-in ends; those of operators neither end nor count")
    func number() async throws {
        try await withDatabase { database in
            let account = try await Account(database)
            try await database.withServerPool(size: 4) { pool in
                let store = SignInStore(pool: pool)
                // All at once: the lock on the user lets them count one after the other.
                let begun = try await withThrowingTaskGroup(of: SignInID?.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            try await store.begin(
                                user: account.user, presented: Self.hash,
                                refreshHash: Array(repeating: .random(in: 0...255), count: 16)
                                    + Array(repeating: .random(in: 0...255), count: 16),
                                terms: Self.terms, client: .init(userAgent: nil, address: nil))?.signIn
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(begun.compactMap { $0 }.count == 8)
                let standing = try await database.query(
                    """
                    SELECT kind, created_at >= (
                        SELECT min(n.created_at) FROM (
                            SELECT created_at FROM app.auth_sessions WHERE kind = 'password' ORDER BY created_at DESC LIMIT 3
                        ) AS n) AS is_newest
                    FROM app.auth_sessions WHERE user_id = \(account.user) AND revoked_at IS NULL ORDER BY kind
                    """)
                #expect(
                    try standing.map { try $0.decode("kind", as: String.self) }
                        == ["operator", "operator", "password", "password", "password"])
                #expect(try standing.suffix(3).allSatisfy { try $0.decode("is_newest", as: Bool.self) })
            }
            #expect(try await account.reasons(database) == [nil, nil])
        }
    }

    @Test("Swift and the database agree which addresses are one account")
    func addresses() async throws {
        let texts = [
            "karl@e.org", "KARL@E.org", "\u{212A}arl@e.org", "ｋarl@e.org", "ärztin@e.org", "ÄRZTIN@e.org",
            "a\u{308}rztin@e.org",
            "i@e.org", "I@e.org", "İ@e.org", "ı@e.org", "ß@e.org", "ẞ@e.org", "σ@e.org", "Σ@e.org", "\u{212B}@e.org",
            "å@e.org",
        ]
        func insertion(of email: String) -> PostgresQuery {
            "INSERT INTO app.users (email, full_name, role) VALUES (\(email), 'Test Person', 'patient')"
        }
        try await withDatabase { database in
            try await database.withConnection { owner in
                for stored in texts {
                    _ = try await owner.query("DELETE FROM app.users")
                    let refusal = try await owner.refusal(of: insertion(of: stored))
                    let address = EmailAddress(stored)
                    #expect((refusal == nil) == (address != nil), "\(stored)")
                    guard let address else { continue }
                    for other in texts {
                        let found = try await database.query(
                            "SELECT * FROM app.account_by_address(\(other))", as: "therapybridge_server")
                        #expect(!found.isEmpty == (EmailAddress(other) == address), "\(stored) \(other)")
                        guard let otherAddress = EmailAddress(other) else { continue }
                        let second = try await owner.refusal(of: insertion(of: other))
                        #expect((second == nil) == (otherAddress != address), "\(stored) beside \(other)")
                        if second == nil { _ = try await owner.query("DELETE FROM app.users WHERE email = \(other)") }
                    }
                }
            }
        }
    }
}

extension Sequence {
    fileprivate func asyncMap<Result>(_ transform: (Element) async throws -> Result) async rethrows -> [Result] {
        var results: [Result] = []
        for element in self { results.append(try await transform(element)) }
        return results
    }
}
