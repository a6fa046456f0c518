import App
import Postgres
import PostgresTestSupport
import ServerTestSupport
import SettingsReading
import TestSupport
import Testing

@Suite(.deadline) struct DatabaseSettingsTests {
    @Test("JIT is off in the pool and the listener, though the database has it on")
    func jit() async throws {
        try await withDatabase { database in
            #expect(try await database.query("SHOW jit")[0].decode(0, as: String.self) == "on")
            var settings = try DatabaseSettings(
                SettingsReader(environment: ["DATABASE_URL": database.url("therapybridge_server")]))
            settings.timeouts = .forTests
            let pooled = try await PostgresPool.withPool(
                settings.queries(name: "test", logger: quietLogger), settings: settings.pool
            ) { pool in
                try await pool.query("SHOW jit")[0].decode(0, as: String.self)
            }
            #expect(pooled == "off")
            let listening = try await PostgresConnection.withConnection(settings.listener(logger: quietLogger)) {
                try await $0.query("SHOW jit")[0].decode(0, as: String.self)
            }
            #expect(listening == "off")
        }
    }
}
