import Foundation
import LocalPostgres
import Logging
import PostgresTestSupport
import ServiceLifecycle
import TestSupport
import TestTime
import Testing

@testable import Postgres

@Suite("The pool", .deadline) struct PoolTests {
    @Test("The server never counts more connections than the size")
    func size() async throws {
        let name = "size \(UUID())"
        let configuration = try await testConfiguration { $0.applicationName = name }
        try await PostgresPool.withPool(
            configuration, settings: PostgresPoolConfiguration(size: 3, waitTimeout: TestDeadline.event)
        ) { pool in
            let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<100 {
                    group.addTask {
                        try await pool.query(
                            "SELECT count(*), pg_sleep(0.001) FROM pg_stat_activity WHERE application_name = \(name)")[
                                0
                            ]
                            .decode(0, as: Int.self)
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(counts.max() == 3)
            #expect(pool.statistics.openedTotal == 3)
            #expect(pool.statistics.idle == 3)
            #expect(pool.statistics.loansTotal == 100)
        }
    }

    @Test("A caller that waits too long fails, and one caller too many fails at once")
    func waits() async throws {
        try await withPool(size: 1, { $0.maximumWaiters = 1 }) { pool in
            try await pool.withConnection { _ in
                let tooLong = await #expect(throws: PostgresError.self) {
                    try await pool.withConnection(waitTimeout: .milliseconds(200)) { _ in }
                }
                #expect(tooLong?.code == .poolExhausted)
                let waiting = Task { try await pool.withConnection(waitTimeout: .seconds(3600)) { _ in } }
                try await eventually("one caller waits") { pool.statistics.waiting == 1 }
                let tooMany = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
                #expect(tooMany?.code == .poolExhausted)
                waiting.cancel()
                let cancelled = await #expect(throws: PostgresError.self) { try await waiting.value }
                #expect(cancelled?.code == .cancelled)
                #expect(tooLong?.isTransient == true)
                #expect(pool.statistics.exhaustedTotal == 2)
            }
            try await #expect(pool.query("SELECT 1").count == 1)
        }
    }

    /// The probe of a load balancer once waited for the whole `waitTimeout`, although each attempt was refused at once.
    @Test("A caller that gives up learns at once that PostgreSQL refuses connections, and others wait for its start")
    func refusedConnections() async throws {
        let server = try await TestCluster.makeCluster(listensOnLoopback: true)
        let configuration = try PostgresConfiguration(
            connectionString: server.connectionString(), connectTimeout: TestDeadline.event)
        let settings = PostgresPoolConfiguration(size: 2, waitTimeout: .seconds(3600))
        try await PostgresPool.withPool(configuration, settings: settings) { pool in
            try await #expect(pool.query("SELECT 1").count == 1)
            try await server.stop(mode: .immediate)
            try await eventually("the pool has lost its connection") { pool.statistics.open == 0 }
            let patient = Task { try await pool.query("SELECT 2")[0].decode(0, as: Int.self) }
            for _ in 1...3 {
                let refused = await #expect(throws: PostgresError.self) {
                    try await pool.withConnection(givesUpWhenRefused: true) { _ = try await $0.query("SELECT 1") }
                }
                #expect(refused?.code == .connection)
            }
            try await server.start()
            #expect(try await patient.value == 2)
            try await pool.withConnection(givesUpWhenRefused: true) { _ = try await $0.query("SELECT 1") }
        }
        try await server.stop(mode: .immediate)
    }

    @Test("A waiter can be cancelled")
    func cancelledWaiter() async throws {
        try await withPool(size: 1) { pool in
            try await pool.withConnection { _ in
                let waiting = Task { try await pool.query("SELECT 1") }
                try await eventually("one caller waits") { pool.statistics.waiting == 1 }
                waiting.cancel()
                let error = await #expect(throws: PostgresError.self) { try await waiting.value }
                #expect(error?.code == .cancelled)
                #expect(pool.statistics.waiting == 0)
            }
        }
    }

    @Test("A cancellation at any moment loses no connection")
    func cancelAnytime() async throws {
        try await withPool(size: 2) { pool in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<500 {
                    group.addTask {
                        let task = Task { try await pool.query("SELECT pg_sleep(0.0005)") }
                        for _ in 0..<number % 7 { await Task.yield() }
                        task.cancel()
                        _ = try? await task.value
                    }
                }
            }
            try await eventually("all connections are back") {
                pool.statistics.lent == 0 && pool.statistics.waiting == 0
            }
            try await #expect(pool.query("SELECT 1").count == 1)
        }
    }

    @Test("A transaction that is left open is rolled back")
    func openTransaction() async throws {
        try await withPool(size: 1) { pool in
            let process = try await pool.withConnection { connection in
                try await connection.executeScript("BEGIN; CREATE TEMPORARY TABLE left_open ()")
                return await connection.backendProcessID
            }
            try await pool.withConnection { connection in
                #expect(await connection.backendProcessID == process)
                let open = try await connection.query("SELECT to_regclass('left_open') IS NULL")
                #expect(try open[0].decode(0, as: Bool.self))
            }
        }
    }

    @Test("A connection does not work after its loan")
    func afterLoan() async throws {
        try await withPool { pool in
            let kept = try await pool.withConnection { $0 }
            let error = await #expect(throws: PostgresError.self) { try await kept.query("SELECT 1") }
            #expect(error?.code == .protocolViolation)
        }
    }

    @Test("The borrower does not wait for a connection that drains for long")
    func slowDrain() async throws {
        try await withPool(size: 1) { pool in
            let error = await #expect(throws: PostgresError.self) {
                try await pool.query("SELECT pg_sleep(600)", timeout: .milliseconds(50))
            }
            #expect(error?.code == .deadlineExceeded)
            try await #expect(pool.query("SELECT 1").count == 1)
        }
    }

    @Test("A wrong database fails at once, not after the wait")
    func wrongDatabase() async throws {
        let server = try await TestCluster.reachable.server()
        let configuration = try PostgresConfiguration(
            connectionString: server.connectionString(database: "no_such_database"))
        try await PostgresPool.withPool(
            configuration, settings: PostgresPoolConfiguration(size: 2, waitTimeout: .seconds(3600))
        ) { pool in
            let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
            #expect(error?.code == .connection)
            #expect(error?.sqlState == .invalidCatalogName)
        }
    }

    @Test("While the server is away waiters learn why, and when it is back they are served")
    func serverAway() async throws {
        let server = try await TestCluster.makeCluster(listensOnLoopback: true)
        let configuration = try PostgresConfiguration(connectionString: server.connectionString())
        try await PostgresPool.withPool(configuration, settings: PostgresPoolConfiguration(size: 2)) { pool in
            try await #expect(pool.query("SELECT 1").count == 1)
            try await server.stop(mode: .immediate)
            let error = await #expect(throws: PostgresError.self) {
                try await pool.withConnection(waitTimeout: .milliseconds(300)) { _ = try await $0.query("SELECT 1") }
            }
            #expect(error?.isTransient == true)
            let waiting = Task {
                try await pool.withConnection(waitTimeout: TestDeadline.event) { try await $0.query("SELECT 42") }
            }
            try await server.start()
            #expect(try await waiting.value[0].decode(0, as: Int.self) == 42)
        }
        try await server.stop(mode: .immediate)
    }

    @Test("A restart under load costs some queries, and none after it")
    func restart() async throws {
        let server = try await TestCluster.makeCluster(listensOnLoopback: true)
        let configuration = try PostgresConfiguration(connectionString: server.connectionString())
        try await PostgresPool.withPool(
            configuration, settings: PostgresPoolConfiguration(size: 4, waitTimeout: TestDeadline.event)
        ) { pool in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        while !Task.isCancelled {
                            do {
                                _ = try await pool.query("SELECT pg_sleep(0.001)")
                            } catch let error as PostgresError {
                                #expect(error.isTransient || error.code == .cancelled, "\(error)")
                            }
                        }
                    }
                }
                for _ in 0..<3 { try await server.restart(mode: .immediate) }
                group.cancelAll()
            }
            for _ in 0..<20 { try await #expect(pool.query("SELECT 1").count == 1) }
            #expect(pool.statistics.open <= 4)
        }
        try await server.stop(mode: .immediate)
    }

    @Test("The pool replaces an idle connection that the server ended")
    func endedIdle() async throws {
        try await withPool(size: 1) { pool in
            let process = try await pool.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self)
            try await withConnection { _ = try await $0.query("SELECT pg_terminate_backend(\(process))") }
            try await eventually("the pool knows that the connection is closed") { pool.statistics.open == 0 }
            let next = try await pool.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self)
            #expect(next != process)
        }
    }

    @Test("A query during which the server ends the session fails with the server's reason")
    func endedDuringQuery() async throws {
        try await withPool(size: 1) { pool in
            let error = await #expect(throws: PostgresError.self) {
                try await pool.query("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(600)")
            }
            #expect(error?.code == .connection)
            #expect(error?.sqlState == .adminShutdown)
            #expect(error?.isTransient == true)
        }
    }

    @Test("A query on a half-open connection fails at its deadline, and a check finds idle half-open connections")
    func halfOpen() async throws {
        let server = try await TestCluster.reachable.server()
        let proxy = try TCPProxy(to: server.port)
        defer { proxy.stop() }
        let configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1 port=\(proxy.port) user=postgres password=\(server.superuserPassword)",
            connectTimeout: .seconds(5))
        var settings = PostgresPoolConfiguration(size: 1, waitTimeout: TestDeadline.event)
        settings.checkAfter = .zero
        settings.checkTimeout = .seconds(1)
        try await PostgresPool.withPool(configuration, settings: settings) { pool in
            try await #expect(pool.query("SELECT 1").count == 1)
            let error = await #expect(throws: PostgresError.self) {
                try await pool.withConnection { connection in
                    proxy.freeze()
                    _ = try await connection.query("SELECT 1", timeout: .milliseconds(200))
                }
            }
            #expect(error?.code == .deadlineExceeded)
            // Neither the query nor its cancellation can end, thus the connection is closed. No new one can be opened
            // either.
            let meanwhile = await #expect(throws: PostgresError.self) {
                try await pool.withConnection(waitTimeout: .milliseconds(300)) { _ in }
            }
            #expect(meanwhile?.code == .poolExhausted)
            proxy.thaw()
            try await #expect(pool.query("SELECT 1").count == 1)
        }
        #expect(try openSockets(toPort: proxy.port) == 0)
    }

    @Test("Old connections are replaced")
    func oldConnections() async throws {
        try await withPool(size: 1, { $0.maximumAge = .milliseconds(1) }) { pool in
            let first = try await pool.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self)
            try await eventually("the pool uses another connection") {
                try await pool.query("SELECT pg_backend_pid()")[0].decode(0, as: Int32.self) != first
            }
        }
    }

    @Test("Unused connections are closed")
    func unused() async throws {
        let clock = ManualClock()
        let pool = try PostgresPool(
            configuration: try await testConfiguration(), settings: PostgresPoolConfiguration(size: 2), clock: clock)
        _ = try await pool.query("SELECT 1")
        // The pool looks every thirty seconds, and closes connections that were unused for ten minutes.
        clock.advance(by: .seconds(599))
        #expect(pool.statistics.open == 1)
        try await eventually("the connection is closed") {
            clock.advance(by: .seconds(30))
            return pool.statistics.open == 0
        }
        await pool.close()
    }

    @Test("The shutdown waits for lent connections and refuses other callers")
    func shutdown() async throws {
        let pool = try PostgresPool(
            configuration: try await testConfiguration(), settings: PostgresPoolConfiguration(size: 1))
        let (started, signal) = AsyncStream<Void>.makeStream()
        let (gate, open) = AsyncStream<Void>.makeStream()
        let busy = Task {
            try await pool.withConnection { connection in
                signal.yield()
                for await _ in gate { break }
                return try await connection.query("SELECT 7")[0].decode(0, as: Int.self)
            }
        }
        for await _ in started { break }
        let waiting = Task { try await pool.query("SELECT 1") }
        try await eventually("one caller waits") { pool.statistics.waiting == 1 }
        let closing = Task { await pool.close() }
        let refused = await #expect(throws: PostgresError.self) { try await waiting.value }
        #expect(refused?.code == .poolClosed)
        open.yield()
        #expect(try await busy.value == 7)
        await closing.value
        #expect(pool.statistics.open == 0)
        let late = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
        #expect(late?.code == .poolClosed)
        await pool.close()
    }

    @Test("The shutdown does not wait for ever")
    func boundedShutdown() async throws {
        var settings = PostgresPoolConfiguration(size: 1)
        settings.shutdownTimeout = .milliseconds(100)
        let pool = try PostgresPool(configuration: try await testConfiguration(), settings: settings)
        let busy = Task { try await pool.query("SELECT pg_sleep(600)") }
        try await eventually("the connection is lent") { pool.statistics.lent == 1 }
        await pool.close()
        let error = await #expect(throws: PostgresError.self) { try await busy.value }
        #expect(error?.code == .connection)
    }

    @Test("The shutdown does not wait for an attempt to connect")
    func shutdownWhileConnecting() async throws {
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(silent.port)", connectTimeout: .seconds(3600))
        let pool = try PostgresPool(configuration: configuration)
        let waiting = Task { try await pool.withConnection(waitTimeout: .seconds(3600)) { _ in } }
        try await eventually("the attempt has reached the host") { silent.accepted == 1 }
        await pool.close()
        let error = await #expect(throws: PostgresError.self) { try await waiting.value }
        #expect(error?.code == .poolClosed)
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test("A pool without a reference closes its connections")
    func released() async throws {
        let server = try await TestCluster.reachable.server()
        let proxy = try TCPProxy(to: server.port)
        defer { proxy.stop() }
        let configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1 port=\(proxy.port) user=postgres password=\(server.superuserPassword)",
            connectTimeout: TestDeadline.event)
        do {
            let pool = try PostgresPool(configuration: configuration)
            try await pool.withConnection(waitTimeout: TestDeadline.event) { _ in
                let connections = try openSockets(toPort: proxy.port)
                #expect(connections == 1)
            }
        }
        try await eventually("the pool's connection is closed") { try openSockets(toPort: proxy.port) == 0 }
    }

    @Test("As a service the pool runs until the graceful shutdown")
    func service() async throws {
        let pool = try PostgresPool(configuration: try await testConfiguration())
        let group = ServiceGroup(services: [pool], logger: .init(label: "test"))
        let running = Task { try await group.run() }
        try await #expect(pool.query("SELECT 1").count == 1)
        await group.triggerGracefulShutdown()
        try await running.value
        let late = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
        #expect(late?.code == .poolClosed)
    }
}
