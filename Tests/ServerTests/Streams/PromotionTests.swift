import Domain
import LocalPostgres
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The primary is lost, and its standby is promoted.
///
/// Transaction ids then mean something else.
@Suite(.deadline) struct PromotionTests {
    @Test("After a promotion all clients reconnect, and a position of the old timeline is not resumed")
    func promotion() async throws {
        try await withTestStandby(
            preparing: { try await TestCluster.migrate("own", of: $0) }
        ) { primary, standby in
            let (old, new) = (TestDatabase(cluster: primary, name: "own"), TestDatabase(cluster: standby, name: "own"))
            let patient = try await old.addUser(.patient)
            let session = try await old.addSession(of: patient)
            try await old.report(session, .transcribing, 30)
            let url = """
                host=\(primary.socketDirectory),\(standby.socketDirectory) port=\(primary.port),\(standby.port) \
                dbname=own user=therapybridge_server target_session_attrs=read-write
                """
            try await withServer(over: old, ["DATABASE_URL": url, "SSE_UPDATE_INTERVAL": "0.1"]) { server in
                let token = try await server.token(patient)
                try await eventually("the standby has the sign-in") {
                    try await !new.query("SELECT FROM app.auth_sessions").isEmpty
                }
                let position = try await server.withStream(Clinic.streamOfAll, token: token) { all in
                    _ = try await all.next("progress")
                    let position = try #require(try await all.next("ready").id)
                    try await server.withStream(
                        "/api/sessions/\(session)/status/stream", token: token
                    ) { single in
                        _ = try await single.next("progress")
                        try await primary.stop(mode: .immediate)
                        try await new.query("SELECT pg_promote()")
                        // Both streams end, perhaps after degraded and recovered, and without a word about the session.
                        for reader in [single, all] {
                            let events = try await reader.rest().compactMap(\.event)
                            #expect(Set(events).isSubset(of: ["degraded", "recovered"]), "\(events)")
                        }
                    }
                    return position
                }
                var isOpen = false
                // Until the hub has read on the new timeline alone, it may ask a client once more to reconnect.
                while !isOpen {
                    try await server.withStream(Clinic.streamOfAll, token: token, lastEventID: position) { all in
                        guard let first = try await all.nextEvent() else { return }
                        isOpen = true
                        #expect(first.event == "progress")
                        #expect(first.progress == 30)
                        let next = try #require(try await all.next("ready").id)
                        #expect(position.split(separator: ".")[1] == "1")
                        #expect(next.split(separator: ".")[1] == "2")
                        try await new.report(session, .transcribing, 40)
                        #expect(try await all.next("progress").progress == 40)
                    }
                }
            }
        }
    }
}
