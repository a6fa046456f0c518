import Credentials
import NIOHTTP1

/// The number of logins and sign-outs per second by HTTP.
struct SignIns: Scenario {
    static let name = "sign-ins"
    static let summary = "logins and sign-outs per second by HTTP"

    private static let clients = 8
    private static let password = "a long password of the benchmark"
    private static let signInsEach = 10

    func run(on bed: TestBed) async throws -> [Finding] {
        let duration = bed.duration(10)
        let accounts = bed.isQuick ? 20 : 500
        let signIns = 0..<accounts * Self.signInsEach
        let hash = try await Passwords(threads: 1).hash(Self.password)
        try await bed.database.add(
            BenchDatabase.users(
                .member, .memberSignIn, "therapist", 0..<accounts, signInsEach: Self.signInsEach, passwordHash: hash))
        let tokens = try await bed.database.tokens(
            of: signIns.map {
                (BenchDatabase.id(.member, $0 / Self.signInsEach), BenchDatabase.id(.memberSignIn, $0))
            })
        // As many threads as the server has for hashes.
        let passwords = Passwords()
        let hashes = try await perSecond(for: duration) { _ in
            _ = try await passwords.rehash(Self.password)
        }
        let (logins, reads, signOuts) = try await bed.withServer { server in
            let logins = try await perSecond(for: duration) { number in
                try await logIn(number, accounts: accounts, to: server)
            }
            let reads = try await perSecond(tokens) { token in
                let (status, _) = try await send(.GET, port: server.port, "/api/auth/me", token: token)
                guard status == 200 else { throw BenchmarkError("a read was answered with \(status)") }
            }
            let signOuts = try await perSecond(tokens) { token in
                let (status, _) = try await post(port: server.port, "/api/auth/logout", nil, token: token)
                guard status == 204 else { throw BenchmarkError("a sign-out was answered with \(status)") }
            }
            return (logins, reads, signOuts)
        }
        return [
            Finding(
                """
                Logins by HTTP, \(Self.clients) clients, each with its own address; nearly all of the time is the hash of \
                the password
                """,
                Figure(logins, .perSecond), target: .atLeast(0.8 * hashes),
                peers: [PeerFigure(name: "the hash alone", outcome: .measured(Figure(hashes, .perSecond)))]),
            Finding(
                "Sign-outs by HTTP, \(Self.clients) clients, each sign-out on disk before its answer",
                Figure(signOuts, .perSecond), target: .atLeast(0.5 * reads),
                peers: [
                    PeerFigure(
                        name: "GET /api/auth/me by the same clients", outcome: .measured(Figure(reads, .perSecond)))
                ]),
        ]
    }

    private func logIn(_ number: Int, accounts: Int, to server: BenchServer) async throws {
        let address = BenchDatabase.address(.member, number % accounts)
        // The server limits the attempts of one address.
        let (status, _) = try await post(
            port: server.port, "/api/auth/login", #"{"email":"\#(address)","password":"\#(Self.password)"}"#,
            from: "10.0.\(number / 256 % 256).\(number % 256)")
        guard status == 200 else { throw BenchmarkError("a login was answered with \(status)") }
    }

    /// Runs an action from all clients for a time, and returns how often it ran per second.
    ///
    /// Each call has its own number.
    private func perSecond(
        for duration: Duration, _ action: @escaping @Sendable (Int) async throws -> Void
    ) async throws -> Double {
        let start = ContinuousClock.now
        let count = try await withThrowingTaskGroup(of: Int.self) { group in
            for client in 0..<Self.clients {
                group.addTask {
                    var count = 0
                    while ContinuousClock.now - start < duration {
                        try await action(client + count * Self.clients)
                        count += 1
                    }
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        return Double(count) / ((ContinuousClock.now - start) / .seconds(1))
    }

    /// Runs an action once with each token, and returns how often it ran per second.
    private func perSecond(
        _ tokens: [String], _ action: @escaping @Sendable (String) async throws -> Void
    ) async throws -> Double {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<Self.clients {
                group.addTask {
                    for index in stride(from: client, to: tokens.count, by: Self.clients) {
                        try await action(tokens[index])
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(tokens.count) / ((ContinuousClock.now - start) / .seconds(1))
    }
}
