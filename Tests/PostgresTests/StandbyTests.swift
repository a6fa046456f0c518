import Foundation
import Logging
import PostgresTestSupport
import TestSupport
import Testing

@testable import LocalPostgres
@testable import Postgres

/// A primary, and a hot standby that streams from it.
///
/// The trap: a standby accepts connections but refuses LISTEN and NOTIFY. A listener that takes the first server of its
/// list would never be live.
@Suite("A primary and a standby", .deadline) struct StandbyTests {
    /// A configuration for the first suitable one of several servers.
    private func configuration(_ servers: LocalPostgres..., logger: Logger? = nil) throws -> PostgresConfiguration {
        let hosts = servers.map(\.socketDirectory).joined(separator: ",")
        let ports = servers.map { "\($0.port)" }.joined(separator: ",")
        var configuration = try PostgresConfiguration(
            connectionString: "host=\(hosts) port=\(ports) user=postgres dbname=postgres",
            connectTimeout: TestDeadline.event, queryTimeout: TestDeadline.event)
        if let logger { configuration.logger = logger }
        return configuration
    }

    private func notify(_ channel: String, _ payload: String, on server: LocalPostgres) async throws {
        try await PostgresConnection.withConnection(try configuration(server)) { connection in
            _ = try await connection.query("SELECT pg_notify(\(channel), \(payload))")
        }
    }

    @Test("A listener skips the standby, and receives notifications of the primary")
    func skipsStandby() async throws {
        try await withTestStandby { primary, standby in
            try await withListener(channels: ["passed_by"], configuration: configuration(standby, primary)) {
                listener, events in
                // On the standby the listener would have failed at LISTEN.
                let first = await events.next(isolation: #isolation)
                try #require(first == .live)
                try await notify("passed_by", "from the primary", on: primary)
                let received = try await events.notifications(1)
                #expect(received.map(\.payload) == ["from the primary"])
                #expect(listener.isLive)
            }
        }
    }

    @Test("With a standby alone a listener is never live and says why, until the standby is promoted")
    func standbyAlone()
        async throws
    {
        try await withTestStandby { _, standby in
            let log = LogMemory()
            try await withListener(
                channels: ["standby"], configuration: configuration(standby, logger: log.logger)
            ) { listener, events in
                let trouble = try await events.trouble()
                #expect(trouble == .cannotConnect)
                try await eventually("the listener has tried again") { listener.statistics.failures >= 3 }
                #expect(!listener.isLive)
                #expect(listener.statistics.livePeriods == 0)
                let warnings = log.warnings
                #expect(warnings.count == 1, "the log has each reason once, not with every attempt: \(warnings)")
                #expect(warnings.first?.contains("session is read-only") == true, "\(warnings)")

                try await PostgresConnection.withConnection(try configuration(standby)) { connection in
                    _ = try await connection.query("SELECT pg_promote()")
                }
                _ = try await events.untilLive()
                try await notify("standby", "promoted", on: standby)
                let received = try await events.notifications(1)
                #expect(received.map(\.payload) == ["promoted"])
            }
        }
    }
}
