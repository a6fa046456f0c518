import Domain
import Foundation
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

    /// The standby knows a newer state than the client, and a right that has ended on the primary since.
    @Test("Over a standby in recovery, open streams are degraded, new ones get unavailable, and nobody gets a state")
    func recovery() async throws {
        try await withTestStandby(
            preparing: { try await TestCluster.migrate("own", of: $0) }
        ) { primary, standby in
            let (old, copy) = (TestDatabase(cluster: primary, name: "own"), TestDatabase(cluster: standby, name: "own"))
            let patient = try await old.addUser(.patient)
            let session = try await old.addSession(of: patient)
            let address = try SwitchedAddress(primary)
            defer { address.remove() }
            let settings = ["DATABASE_URL": address.url, "SSE_UPDATE_INTERVAL": "0.1", "SSE_HEARTBEAT_INTERVAL": "1"]
            try await withServer(over: old, settings, databaseTimeouts: .standard) { server in
                let token = try await server.token(patient)
                let path = "/api/sessions/\(session)/status/stream"
                try await server.withStream(path, token: token) { reader in
                    #expect(try await reader.next("progress").version == 1)
                    try await address.cut(from: old)
                    #expect(try await reader.next("degraded").isBare)
                    try await old.report(session, .transcribing, 30)
                    try await eventually("the standby has the report") {
                        try await !copy.query("SELECT FROM app.session_progress WHERE version = 2").isEmpty
                    }
                    try await copy.query("SELECT pg_wal_replay_pause()")
                    try await eventually("the standby replays nothing more") {
                        try await copy.query("SELECT pg_get_wal_replay_pause_state() AS state")[0]
                            .decode("state", as: String.self) == "paused"
                    }
                    try await old.query("UPDATE app.auth_sessions SET revoked_at = now()")
                    try address.connect(to: standby)
                    try await eventually("the server reads from the standby") {
                        try await !copy.query(
                            "SELECT FROM pg_stat_activity WHERE usename = 'therapybridge_server' AND query LIKE '%app.read_%'"
                        ).isEmpty
                    }
                    for _ in 0..<3 { try await reader.heartbeat() }
                    try await server.withStream(path, token: token) { try await expectUnavailable($0) }
                    try await address.cut(from: copy)
                    try address.connect(to: primary)
                    let events = try await reader.rest().compactMap(\.event)
                    #expect(Set(events).isSubset(of: ["degraded", "recovered", "revoked"]), "\(events)")
                    #expect(events.last == "revoked")
                }
            }
        }
    }
}

/// The address of a database that leads to one cluster or another: a folder with a link to the cluster's socket.
private struct SwitchedAddress: Sendable {
    private let folder: String
    private var link: String { "\(folder)/.s.PGSQL.5432" }

    var url: String { "host=\(folder) port=5432 dbname=own user=therapybridge_server" }

    init(_ cluster: LocalPostgres) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "tb-address-\(UUID().uuidString.prefix(8))")
            .path(percentEncoded: false)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try connect(to: cluster)
    }

    func connect(to cluster: LocalPostgres) throws {
        try FileManager.default.createSymbolicLink(
            atPath: link, withDestinationPath: "\(cluster.socketDirectory)/.s.PGSQL.\(cluster.port)")
    }

    /// Removes the link, and ends the server's connections.
    func cut(from database: TestDatabase) async throws {
        try FileManager.default.removeItem(atPath: link)
        try await eventually("the server has no connection") {
            try await database.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'therapybridge_server'"
            ).isEmpty
        }
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }
}
