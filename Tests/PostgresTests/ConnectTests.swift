import Foundation
import Glibc
import LocalPostgres
import PostgresTestSupport
import TestSupport
import TestTime
import Testing

@testable import Postgres

@Suite(.deadline) struct ConnectTests {
    @Test func `The version of the server is known`() async throws {
        try await withConnection { connection in
            let version = await connection.serverVersion
            #expect(version >= 150_000)
            let shown = try await connection.query("SHOW server_version_num")[0].decode(0, as: String.self)
            #expect("\(version)" == shown)
        }
    }

    @Test func `TCP with a password works, and a wrong password is told from an absent server`() async throws {
        let server = try await TestCluster.reachable.server()
        let right = try PostgresConfiguration(connectionString: server.loopbackConnectionString())
        try await PostgresConnection.withConnection(right) { connection in
            try await #expect(connection.query("SELECT 1").count == 1)
        }
        let wrong = try PostgresConfiguration(connectionString: server.loopbackConnectionString(password: "wrong"))
        let refused = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(wrong) }
        #expect(refused?.code == .connection)
        #expect(refused?.sqlState == .invalidPassword)
        #expect(refused?.isTransient == false)
        let unknown = try PostgresConfiguration(connectionString: server.connectionString(database: "no_such_database"))
        let missing = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(unknown) }
        #expect(missing?.sqlState == .invalidCatalogName)
    }

    @Test func `An absent server is a transient error`() async throws {
        let (descriptor, port) = try listenOnLoopback()
        close(descriptor)
        let configuration = try PostgresConfiguration(connectionString: "host=127.0.0.1 port=\(port)")
        let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(configuration) }
        #expect(error?.code == .connection)
        #expect(error?.isTransient == true)
    }

    @Test func `Names are looked up, and every address and host is tried`() async throws {
        let server = try await TestCluster.reachable.server()
        // The server listens on 127.0.0.1 alone; localhost may be ::1 first.
        let named = try PostgresConfiguration(
            connectionString:
                "host=localhost port=\(server.port) user=postgres password=\(server.superuserPassword)")
        try await PostgresConnection.withConnection(named) { connection in
            try await #expect(connection.query("SELECT 1").count == 1)
        }
        let several = try PostgresConfiguration(
            connectionString:
                "host=no-such-host.invalid,127.0.0.1,127.0.0.1 port=\(server.port),1,\(server.port) user=postgres"
                + " password=\(server.superuserPassword)", connectTimeout: TestDeadline.event)
        try await PostgresConnection.withConnection(several) { connection in
            try await #expect(connection.query("SELECT 1").count == 1)
        }
    }

    @Test func `A host that accepts and says nothing does not keep the next from its turn`() async throws {
        let server = try await TestCluster.reachable.server()
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1,127.0.0.1 port=\(silent.port),\(server.port) user=postgres"
                + " password=\(server.superuserPassword)", connectTimeout: .seconds(60))
        let clock = ManualClock()
        let runtime = try PostgresRuntime(clock: clock)
        let answer = Task {
            try await PostgresConnection.withConnection(configuration, on: runtime) { try await $0.query("SELECT 1") }
        }
        try await eventually("the attempt has arrived at the silent host") { silent.accepted == 1 }
        // Half of the time is the silent host's. The other half does not pass.
        clock.advance(by: .seconds(30))
        try await #expect(answer.value.count == 1)
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test func `Connecting has a deadline, and leaves no descriptor behind`() async throws {
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(silent.port)", connectTimeout: .seconds(60))
        let clock = ManualClock()
        let runtime = try PostgresRuntime(clock: clock)
        for round in 1...20 {
            let attempt = Task { try await PostgresConnection.withConnection(configuration, on: runtime) { _ in } }
            try await eventually("the attempt has arrived") { silent.accepted == round }
            clock.advance(by: .seconds(60))
            let error = await #expect(throws: PostgresError.self) { try await attempt.value }
            #expect(error?.code == .deadlineExceeded)
        }
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test func `Cancelled and refused connects leave no descriptor behind`() async throws {
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(silent.port)", connectTimeout: TestDeadline.event)
        for round in 1...20 {
            let task = Task { try await PostgresConnection.connect(configuration) }
            // Every other one is cancelled before it has begun.
            if round.isMultiple(of: 2) {
                try await eventually("the attempt has arrived") { silent.accepted >= round / 2 }
            }
            task.cancel()
            let error = await #expect(throws: PostgresError.self) { try await task.value }
            #expect(error?.code == .cancelled)
        }
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test func `Opened and closed connections leave no descriptor behind`() async throws {
        let server = try await TestCluster.reachable.server()
        let proxy = try TCPProxy(to: server.port)
        defer { proxy.stop() }
        let configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1 port=\(proxy.port) user=postgres password=\(server.superuserPassword)",
            connectTimeout: TestDeadline.event)
        for _ in 0..<10 {
            try await PostgresConnection.withConnection(configuration) { _ = try await $0.query("SELECT 1") }
        }
        #expect(try openSockets(toPort: proxy.port) == 0)
        // One that nobody closes is closed when nobody has it any more.
        do { _ = try await PostgresConnection.connect(configuration) }
        try await eventually("a forgotten connection is closed") { try openSockets(toPort: proxy.port) == 0 }
    }
}

@Suite struct HostListTests {
    @Test func `Hosts, addresses and ports are paired`() throws {
        func candidates(_ settings: [String: String]) throws -> [HostCandidate] { try HostList.candidates(settings) }
        #expect(try candidates([:]) == [HostCandidate(host: "", address: nil, port: nil)])
        #expect(
            try candidates(["host": "/run,db,10.0.0.1,::1", "port": "5433"]) == [
                HostCandidate(host: "/run", address: nil, port: "5433"),
                HostCandidate(host: "db", address: nil, port: "5433"),
                HostCandidate(host: "10.0.0.1", address: "10.0.0.1", port: "5433"),
                HostCandidate(host: "::1", address: "::1", port: "5433"),
            ])
        #expect(
            try candidates(["host": "a,b", "hostaddr": "10.0.0.1,10.0.0.2", "port": "1,2"]) == [
                HostCandidate(host: "a", address: "10.0.0.1", port: "1"),
                HostCandidate(host: "b", address: "10.0.0.2", port: "2"),
            ])
        #expect(throws: PostgresError.self) { try candidates(["host": "a,b", "hostaddr": "10.0.0.1"]) }
        #expect(throws: PostgresError.self) { try candidates(["host": "a,b", "port": "1,2,3"]) }
    }

    @Test func `Only names are looked up`() throws {
        let looked = try HostList.candidates(["host": "/run,@abstract,db,10.0.0.1"]).map(HostList.needsLookUp)
        #expect(looked == [false, false, true, false])
    }
}

@Suite struct ConnectMessageTests {
    @Test func `The code is taken out of libpq's message`() {
        let message = ConnectMessage(
            """
            connection to server at "127.0.0.1", port 5432 failed: FATAL:  28P01: password authentication failed for user "x"
            LOCATION:  auth_failed, auth.c:326
            """)
        #expect(message.sqlState == .invalidPassword)
        #expect(
            message.text
                == #"connection to server at "127.0.0.1", port 5432 failed: FATAL: password authentication failed for user "x""#
        )
    }

    @Test func `A message without a code has none`() {
        let message = ConnectMessage(
            "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running?")
        #expect(message.sqlState == nil)
        #expect(message.error.isTransient)
    }
}

@Suite(.deadline) struct ConfigurationTests {
    @Test(
        arguments: [
            "postgres://u:sec%20ret@db.example:5433/name?sslmode=require",
            "host=db.example port=5433 user=u password='sec ret' dbname=name sslmode=require",
        ])
    func `Both forms of a connection string are understood, and the password is never shown`(text: String) throws {
        let configuration = try PostgresConfiguration(connectionString: text)
        #expect(configuration.host == "db.example")
        #expect(configuration.database == "name")
        #expect(configuration.user == "u")
        #expect(configuration.parameters()["password"] == "sec ret")
        var dumped = ""
        dump(configuration, to: &dumped)
        for shown in ["\(configuration)", String(reflecting: configuration), dumped] {
            #expect(!shown.contains("sec"), "\(shown)")
            #expect(shown.contains("db.example"))
        }
    }

    @Test func `A string that libpq does not understand is a configuration error without a piece of it`() {
        let error = #expect(throws: PostgresError.self) {
            try PostgresConfiguration(connectionString: "password=geheim nonsense")
        }
        #expect(error?.code == .configuration)
        #expect(error.map { String(reflecting: $0).contains("geheim") } == false)
    }

    @Test func `What the connection string says wins, but for the encoding and the connect timeout`() throws {
        let given = try PostgresConfiguration(
            connectionString: "host=h keepalives_idle=60 client_encoding=LATIN1 connect_timeout=1 options='-c a=b'")
        let parameters = given.parameters()
        #expect(parameters["keepalives_idle"] == "60")
        #expect(parameters["keepalives_interval"] == "3")
        #expect(parameters["gssencmode"] == "disable")
        #expect(parameters["tcp_user_timeout"] == "10000")
        #expect(parameters["client_encoding"] == "UTF8")
        #expect(parameters["connect_timeout"] == nil)
        #expect(parameters["options"] == "-c statement_timeout=60000 -c a=b")
    }

    @Test func `Through a pooler no startup options are sent`() throws {
        var configuration = try PostgresConfiguration(connectionString: "host=h", pooler: .transaction)
        configuration.sessionSettings = ["work_mem": "4MB"]
        #expect(configuration.parameters()["options"] == nil)
    }

    @Test func `Session settings reach the session`() async throws {
        let shown = try await withConnection({ $0.sessionSettings = ["my.setting": "a b, \\c"] }) { connection in
            try await connection.query("SELECT current_setting('my.setting')")[0].decode(0, as: String.self)
        }
        #expect(shown == "a b, \\c")
    }
}
