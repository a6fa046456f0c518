import Foundation
import Glibc
import LocalPostgres
import PostgresTestSupport
import TestSupport
import TestTime
import Testing

@testable import Postgres

@Suite("Connecting", .deadline) struct ConnectTests {
    @Test("The connection knows the server's version")
    func serverVersion() async throws {
        try await withConnection { connection in
            let version = await connection.serverVersion
            #expect(version >= 150_000)
            let shown = try await connection.query("SHOW server_version_num")[0].decode(0, as: String.self)
            #expect("\(version)" == shown)
        }
    }

    @Test("TCP with a password works, and a wrong password differs from an absent server")
    func passwords() async throws {
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

    @Test("An absent server is a transient error")
    func absentServer() async throws {
        let (descriptor, port) = try listenOnLoopback()
        close(descriptor)
        let configuration = try PostgresConfiguration(connectionString: "host=127.0.0.1 port=\(port)")
        let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(configuration) }
        #expect(error?.code == .connection)
        #expect(error?.isTransient == true)
    }

    @Test("Names are looked up, and every address and host is tried")
    func everyAddress() async throws {
        let server = try await TestCluster.reachable.server()
        // The server listens on 127.0.0.1 alone. The first address of localhost may be ::1.
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

    @Test("A host that accepts and sends nothing leaves time for the next host")
    func silentHost() async throws {
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
        try await eventually("the attempt has reached the silent host") { silent.accepted == 1 }
        // The silent host gets half of the time. The other half does not pass.
        clock.advance(by: .seconds(30))
        try await #expect(answer.value.count == 1)
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test("Connecting has a deadline, and leaves no open descriptor")
    func connectDeadline() async throws {
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(silent.port)", connectTimeout: .seconds(60))
        let clock = ManualClock()
        let runtime = try PostgresRuntime(clock: clock)
        for round in 1...20 {
            let attempt = Task { try await PostgresConnection.withConnection(configuration, on: runtime) { _ in } }
            try await eventually("the attempt has reached the host") { silent.accepted == round }
            clock.advance(by: .seconds(60))
            let error = await #expect(throws: PostgresError.self) { try await attempt.value }
            #expect(error?.code == .deadlineExceeded)
        }
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test("Cancelled and refused attempts leave no open descriptor")
    func cancelledConnects() async throws {
        let silent = try TCPProxy(to: nil)
        defer { silent.stop() }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=\(silent.port)", connectTimeout: TestDeadline.event)
        for round in 1...20 {
            let task = Task { try await PostgresConnection.connect(configuration) }
            // Every second one is cancelled before it has begun.
            if round.isMultiple(of: 2) {
                try await eventually("the attempts have reached the host") { silent.accepted >= round / 2 }
            }
            task.cancel()
            let error = await #expect(throws: PostgresError.self) { try await task.value }
            #expect(error?.code == .cancelled)
        }
        #expect(try openSockets(toPort: silent.port) == 0)
    }

    @Test("Opened and closed connections leave no open descriptor")
    func closedConnections() async throws {
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
        // A connection without a reference is closed.
        do { _ = try await PostgresConnection.connect(configuration) }
        try await eventually("a connection without a reference is closed") { try openSockets(toPort: proxy.port) == 0 }
    }
}

@Suite("The list of hosts") struct HostListTests {
    @Test("Hosts, addresses and ports are paired")
    func pairs() throws {
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

    @Test("Only names are looked up")
    func lookUps() throws {
        let looked = try HostList.candidates(["host": "/run,@abstract,db,10.0.0.1"]).map(HostList.needsLookUp)
        #expect(looked == [false, false, true, false])
    }
}

@Suite("libpq's message about a failed connection") struct ConnectMessageTests {
    @Test("The code is taken out of libpq's message")
    func code() {
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

    @Test("A message without a code has none")
    func noCode() {
        let message = ConnectMessage(
            "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running?")
        #expect(message.sqlState == nil)
        #expect(message.error.isTransient)
    }
}

@Suite("The configuration of a connection", .deadline) struct ConfigurationTests {
    @Test(
        "Both forms of a connection string work, and the password is never shown",
        arguments: [
            "postgres://u:sec%20ret@db.example:5433/name?sslmode=require",
            "host=db.example port=5433 user=u password='sec ret' dbname=name sslmode=require",
        ])
    func bothForms(text: String) throws {
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

    @Test("An unreadable string is a configuration error that quotes nothing of it")
    func unreadableString() {
        let error = #expect(throws: PostgresError.self) {
            try PostgresConfiguration(connectionString: "password=geheim nonsense")
        }
        #expect(error?.code == .configuration)
        #expect(error.map { String(reflecting: $0).contains("geheim") } == false)
    }

    @Test("The connection string wins, but for the encoding and the connect timeout")
    func precedence() throws {
        let configuration = try PostgresConfiguration(
            connectionString: "host=h keepalives_idle=60 client_encoding=LATIN1 connect_timeout=1 options='-c a=b'")
        let parameters = configuration.parameters()
        #expect(parameters["keepalives_idle"] == "60")
        #expect(parameters["keepalives_interval"] == "3")
        #expect(parameters["gssencmode"] == "disable")
        #expect(parameters["tcp_user_timeout"] == "10000")
        #expect(parameters["client_encoding"] == "UTF8")
        #expect(parameters["connect_timeout"] == nil)
        #expect(parameters["options"] == "-c statement_timeout=60000 -c a=b")
    }

    @Test("Through a pooler no startup options are sent")
    func pooler() throws {
        var configuration = try PostgresConfiguration(connectionString: "host=h", pooler: .transaction)
        configuration.sessionSettings = ["work_mem": "4MB"]
        #expect(configuration.parameters()["options"] == nil)
    }

    @Test("Session settings reach the session")
    func sessionSettings() async throws {
        let shown = try await withConnection({ $0.sessionSettings = ["my.setting": "a b, \\c"] }) { connection in
            try await connection.query("SELECT current_setting('my.setting')")[0].decode(0, as: String.self)
        }
        #expect(shown == "a b, \\c")
    }
}
