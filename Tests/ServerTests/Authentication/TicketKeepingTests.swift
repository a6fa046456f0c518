import Credentials
import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Store
import TestSupport
import Testing

/// How the database stores tickets: few, briefly, and as hashes.
@Suite(.deadline) struct TicketKeepingTests {
    @Test("A sign-in has at most fifty unused tickets, even by parallel requests, and one more gets 429")
    func limit() async throws {
        try await withClinic { clinic in
            let path = "/api/sessions/status/ticket"
            // On a loaded machine, the first of many tickets would expire before the last request.
            try await clinic.database.withConnection {
                try await $0.executeScript(
                    """
                    CREATE FUNCTION public.prolong() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                        NEW.expires_at := NEW.expires_at + interval '1 hour'; RETURN NEW; END $$;
                    CREATE TRIGGER prolong BEFORE INSERT ON app.stream_tickets
                        FOR EACH ROW EXECUTE FUNCTION public.prolong();
                    """)
            }
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<60 {
                    group.addTask { try await clinic.request(.POST, path, as: .patient).status }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.count { $0 == 200 } == 50)
            #expect(statuses.count { $0 == 429 } == 10)
            let refusal = try await clinic.request(.POST, path, as: .patient)
            expectProblem(refusal, 429, "too-many-requests")
            #expect(refusal.headers["Retry-After"] == ["30"])
            // Other sign-ins are not affected, and expired tickets do not count.
            #expect(try await clinic.request(.POST, path, as: .therapist).status == 200)
            try await clinic.database.query("UPDATE app.stream_tickets SET expires_at = clock_timestamp()")
            #expect(try await clinic.request(.POST, path, as: .patient).status == 200)
            let left = try await clinic.database.query("SELECT count(*) FROM app.stream_tickets")
            #expect(try left[0].decode(0, as: Int64.self) == 2)
        }
    }

    @Test("The janitor removes expired tickets and keeps valid ones")
    func janitor() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let signIn = try await database.addSignIn(of: patient)
            try await database.query(
                """
                INSERT INTO app.stream_tickets (ticket_hash, auth_session_id, access_expires_at, expires_at)
                SELECT sha256(convert_to(n::text, 'UTF8')), \(signIn.rawValue), now() + interval '1 hour',
                       now() + n * interval '1 hour'
                FROM unnest(ARRAY[-2, -1, 1]) AS n
                """)
            // A sign-in that expired long ago.
            try await database.query(
                "INSERT INTO app.auth_sessions (user_id, expires_at) VALUES (\(patient.rawValue), now() - interval '31 d')"
            )
            // The janitor runs when a server starts.
            try await withServer(over: database) { _ in
                try await eventually("the janitor has removed the tickets") {
                    let rows = try await database.query(
                        """
                        SELECT (SELECT count(*) FROM app.stream_tickets) = 1
                               AND (SELECT array_agg(id) FROM app.auth_sessions) = ARRAY[\(signIn.rawValue)]
                        """)
                    return try rows[0].decode(0, as: Bool.self)
                }
            }
        }
    }

    @Test("The database stores the SHA-256 of a ticket, and no log line contains the ticket")
    func secrecy() async throws {
        let memory = LogMemory()
        try await withServer(["LOG_LEVEL": "trace"], log: memory) { server in
            let clinic = try await Clinic(server)
            var tickets: [String] = []
            for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                let ticket = try await clinic.ticket(for: stream, as: .patient)
                tickets.append(ticket)
                let stored = try await clinic.database.query("SELECT ticket_hash FROM app.stream_tickets")
                #expect(try stored.decode([UInt8].self) == [RefreshToken.hash(of: ticket)])
                // The ticket is used, used again, sent with another method, and sent to other routes.
                for path in [stream, stream, "/api/auth/me", "/nothing", stream + "/x"] {
                    _ = try await clinic.server.withStream("\(path)?ticket=\(ticket)", headers: [:]) { $0.status }
                    _ = try await clinic.request(.DELETE, "\(path)?ticket=\(ticket)", as: nil)
                }
                _ = try await clinic.request(.GET, "\(stream)?ticket=\(ticket)", as: nil, headers: ["Accept": "x/y"])
            }
            let log = memory.text
            #expect(log.contains("/api/sessions/{id}/status/stream"))
            for ticket in tickets { #expect(!log.contains(ticket)) }
            #expect(!log.contains("ticket="))
        }
    }

    @Test("A ticket gets a stream with an unavailable event, not an error, while the database is down")
    func outage() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, databaseTimeouts: .standard) { server in
                let clinic = try await Clinic(server)
                let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .patient)
                try await database.cluster.stop(mode: .immediate)
                let path = "\(clinic.streamOfSession)?ticket=\(ticket)"
                try await server.withStream(path, headers: [:]) { reader in
                    #expect(reader.status == 200)
                    _ = try await reader.next("unavailable")
                    #expect(try await reader.nextBlock() == nil)
                }
                #expect(try await clinic.request(.HEAD, path, as: nil).status == 200)
            }
        }
    }
}
