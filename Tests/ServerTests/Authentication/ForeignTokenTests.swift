import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Tokens of other issuers: attackers, and the site's own identity provider.
@Suite(.deadline) struct ForeignTokenTests {
    /// Lends a server that accepts the tokens of an identity provider, with one account.
    private func withProvider(
        _ body: @escaping @Sendable (TestServer, ProviderForge, UserID) async throws -> Void
    ) async throws {
        let forge = ProviderForge()
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-keys-\(UUID().uuidString)")
        try forge.jwks().write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let settings = [
            "JWT_JWKS_FILE": file.path(percentEncoded: false), "JWT_ISSUER": ProviderForge.issuer,
            "JWT_AUDIENCE": ProviderForge.audience,
        ]
        try await withDatabase { database in
            try await database.query("INSERT INTO app.identity_providers (issuer) VALUES (\(ProviderForge.issuer))")
            try await withServer(over: database, settings) { server in
                try await body(server, forge, try await database.addUser(.patient, email: "ada@clinic.example"))
            }
        }
    }

    @Test("A forged token gets 401, and the answer does not say why")
    func forged() async throws {
        try await withProvider { server, forge, user in
            let good = try await server.token(user)
            let parts = good.split(separator: ".").map(String.init)
            let none = Data(#"{"alg":"none"}"#.utf8).base64EncodedString().replacing("=", with: "")
            var details: Set<String> = []
            for token in [
                "x", "\(none).\(parts[1]).", "\(parts[0]).\(parts[1]).AAAA", "\(parts[0]).\(parts[1])", good + "A",
                try forge.token(
                    forge.claims(email: "ada@clinic.example"), algorithm: "HS256", signedBy: forge.publicPEM),
                try forge.token(forge.claims(email: "nobody@clinic.example")),
            ] {
                let response = try await server.request(.GET, "/api/auth/me", token: token)
                expectProblem(response, 401, "unauthorized")
                details.insert(try response.json()["detail"] as? String ?? "")
            }
            #expect(details.count == 1)
            #expect(try await server.request(.GET, "/api/auth/me", token: good).status == 200)
        }
    }

    @Test("A provider's token authenticates its user, under a sign-in that stays ended after a sign-out")
    func provider() async throws {
        try await withProvider { server, forge, user in
            let session = try await server.database.addSession(of: user)
            let token = try forge.token(forge.claims(email: "Ada@Clinic.example"))
            let me = try await server.request(.GET, "/api/auth/me", token: token)
            #expect(me.status == 200)
            #expect(try me.json()["id"] as? String == user.description)
            var later = forge.claims(email: "Ada@Clinic.example")
            later["exp"] = Int(Date().timeIntervalSince1970) + 900
            let next = try forge.token(later, algorithm: "EdDSA", kid: "ed")
            try await server.withStream("/api/sessions/\(session)/status/stream", token: next) { reader in
                _ = try await reader.next("progress")
                #expect(try await server.database.query("SELECT FROM app.auth_sessions").count == 1)
                #expect(try await server.request(.POST, "/api/auth/logout", token: token).status == 204)
                #expect(try await reader.rest().map(\.event) == ["revoked"])
            }
            later["exp"] = Int(Date().timeIntervalSince1970) + 1200
            for token in [token, next, try forge.token(later)] {
                expectProblem(try await server.request(.GET, "/api/auth/me", token: token), 401, "unauthorized")
            }
            // Another sign-in at the provider is another sign-in of the server.
            later["sid"] = "another"
            #expect(try await server.request(.GET, "/api/auth/me", token: try forge.token(later)).status == 200)
        }
    }

    @Test("A provider's token for an inactive account gets 403 and no sign-in; an expired one gets 401")
    func inactive() async throws {
        try await withProvider { server, forge, _ in
            try await server.database.query("UPDATE app.users SET is_active = false")
            let token = try forge.token(forge.claims(email: "ada@clinic.example"))
            let response = try await server.request(.GET, "/api/auth/me", token: token)
            expectProblem(response, 403, "account-inactive")
            #expect(try await server.database.query("SELECT FROM app.auth_sessions").isEmpty)
            // A route without authentication ignores the token.
            #expect(try await server.request(.GET, "/health", token: token).status == 200)
            try await server.database.query("UPDATE app.users SET is_active = true")
            #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 200)
            var old = forge.claims(email: "ada@clinic.example")
            old["exp"] = Int(Date().timeIntervalSince1970) - 1
            expectProblem(try await server.request(.GET, "/api/auth/me", token: try forge.token(old)), 401)
        }
    }
}
