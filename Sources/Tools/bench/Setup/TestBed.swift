import Foundation

/// All that scenarios share: the programs, the database, the peers and a folder for files.
struct TestBed: Sendable {
    /// The programs that are built together with this one.
    struct Programs: Sendable {
        let server: String
        let loadGenerator: String

        /// The path of this program.
        static var own: String { Bundle.main.executablePath ?? CommandLine.arguments[0] }

        /// Finds the programs beside this one.
        static func find() throws -> Programs {
            let folder = URL(filePath: own).deletingLastPathComponent()
            func path(_ name: String) throws -> String {
                let path = folder.appending(path: name).path(percentEncoded: false)
                guard FileManager.default.isExecutableFile(atPath: path) else {
                    throw BenchmarkError("\(name) is not built; run: swift build -c release --product \(name)")
                }
                return path
            }
            return Programs(server: try path("therapybridge"), loadGenerator: try path("sseload"))
        }
    }

    let programs: Programs
    let scratch: ScratchDirectory
    let database: BenchDatabase
    let peers: Peers
    /// The number of streams, unless the scenario has its own.
    let streams: Int
    /// The number of streams for FastAPI, which takes far longer to open them.
    let fastAPIStreams: Int
    /// True for a shorter and smaller run, to test the benchmark.
    let isQuick: Bool

    /// The number of streams that one process can hold: the limit of descriptors, less those for other uses.
    ///
    /// The server needs a second descriptor for a stream only while it opens.
    var mostStreams: Int { descriptorLimit() - 1000 }

    /// A duration, divided by four in a quick run.
    func duration(_ seconds: Double) -> Duration { .seconds(isQuick ? seconds / 4 : seconds) }

    // MARK: Servers

    func withServer<Result: Sendable>(
        settings: [String: String] = [:], _ body: (BenchServer) async throws -> Result
    ) async throws -> Result {
        try await BenchServer.lend(
            program: programs.server, over: database, in: scratch, settings: settings, body)
    }

    /// Starts several servers, which share the database, and lends them.
    ///
    /// Each has few connections, because PostgreSQL accepts a hundred.
    func withServers<Result: Sendable>(
        _ count: Int, _ body: ([BenchServer]) async throws -> Result
    ) async throws -> Result {
        try await withServers(count, after: [], body)
    }

    private func withServers<Result: Sendable>(
        _ count: Int, after started: [BenchServer], _ body: ([BenchServer]) async throws -> Result
    ) async throws -> Result {
        if started.count == count { return try await body(started) }
        return try await withServer(settings: ["DATABASE_POOL_SIZE": "4"]) { server in
            try await withServers(count, after: started + [server], body)
        }
    }

    /// Measures nchan.
    ///
    /// If it fails or is not installed, the outcome has the reason.
    func nchan(_ body: (RunningPeer) async throws -> Figure) async throws -> PeerFigure {
        try await measure("nchan", isInstalled: peers.nchan != nil) {
            try await peers.nchan?.lend(in: scratch, descriptors: descriptorLimit(), body)
        }
    }

    /// Measures a design of FastAPI.
    ///
    /// If it fails or is not installed, the outcome has the reason.
    func fastAPI(_ name: String, _ body: (RunningPeer) async throws -> Figure) async throws -> PeerFigure {
        try await measure(name, isInstalled: peers.fastAPI != nil) {
            try await peers.fastAPI?.lend(in: scratch, body)
        }
    }

    /// Measures a peer of this program itself.
    ///
    /// If it fails, the outcome has the reason.
    func bare<Peer: BarePeer>(
        _ name: String, _ peer: Peer.Type, _ body: (RunningPeer) async throws -> Figure
    ) async throws -> PeerFigure {
        try await measure(name, isInstalled: true) { try await Peer.lend(in: scratch, body) }
    }

    /// The failure of a peer must not spoil the server's own figure.
    private func measure(
        _ name: String, isInstalled: Bool, _ body: () async throws -> Figure?
    ) async throws -> PeerFigure {
        guard isInstalled else { return PeerFigure(name: name, outcome: .none("not installed")) }
        say("    \(name) …")
        do {
            guard let figure = try await body() else { preconditionFailure("it is installed") }
            return PeerFigure(name: name, outcome: .measured(figure))
        } catch {
            try Task.checkCancellation()
            return PeerFigure(name: name, outcome: .none("failed: \(error)"))
        }
    }

    // MARK: Streams

    /// Streams of one session: each patient, from number 1 on, watches the own session.
    ///
    /// - Parameters:
    ///   - server: The server.
    ///   - sessions: The number of patients and sessions.
    ///   - perSession: The number of streams of each patient.
    ///   - header: Another header of each request, such as `Last-Event-ID: 1`.
    ///   - options: Further options of `sseload`.
    /// - Returns: The plan of the streams.
    /// - Throws: The error of issuing the tokens, or of writing the file of targets.
    func ownSessions(
        of server: BenchServer, _ sessions: Int, perSession: Int = 1, header: String? = nil, options: [String] = []
    ) async throws -> EventStreams.Plan {
        let tokens = try await database.tokens(of: .patient, 1..<sessions + 1)
        let targets = tokens.enumerated().map { index, token in
            Self.target(session: index + 1, token: token) + (header.map { "\t\($0)" } ?? "")
        }
        return try plan(port: server.port, targets, count: sessions * perSession, options: options)
    }

    /// Streams of one session: these patients watch their own sessions, and then these therapists watch session 0.
    func watchers(
        of server: BenchServer, patients: [Int], therapists: Range<Int>
    ) async throws -> EventStreams.Plan {
        var targets: [String] = []
        for patient in patients {
            let token = try await database.tokens(of: .patient, patient..<patient + 1)[0]
            targets.append(Self.target(session: patient, token: token))
        }
        targets += try await database.tokens(of: .therapist, therapists).map { Self.target(session: 0, token: $0) }
        return try plan(port: server.port, targets, count: targets.count)
    }

    /// Streams of one session: each therapist, from number 1 on, watches session 0.
    func oneSession(of server: BenchServer, _ count: Int) async throws -> EventStreams.Plan {
        let tokens = try await database.tokens(of: .therapist, 1..<count + 1)
        return try plan(port: server.port, tokens.map { Self.target(session: 0, token: $0) }, count: count)
    }

    /// Streams of all sessions: each patient, from number 1 on, watches a caseload, which has the own session.
    func allSessions(of server: BenchServer, _ count: Int) async throws -> EventStreams.Plan {
        let tokens = try await database.tokens(of: .patient, 1..<count + 1)
        return try plan(
            port: server.port, tokens.map { Self.target("/api/sessions/status/stream", token: $0) }, count: count)
    }

    /// Streams of a peer.
    ///
    /// `path` returns the path of each stream, from number 1 on.
    func peerStreams(
        of peer: RunningPeer, _ count: Int, options: [String] = [], path: (Int) -> String
    ) throws -> EventStreams.Plan {
        // A peer sends nothing before the first message.
        try plan(port: peer.port, (1...count).map(path), count: count, options: ["--open-with", "head"] + options)
    }

    private static func target(session: Int, token: String) -> String {
        target("/api/sessions/\(BenchDatabase.id(.session, session))/status/stream", token: token)
    }

    private static func target(_ path: String, token: String) -> String { "\(path)\tAuthorization: Bearer \(token)" }

    private func plan(port: Int, _ targets: [String], count: Int, options: [String] = []) throws -> EventStreams.Plan {
        let text = targets.map { $0 + "\n" }.joined()
        return EventStreams.Plan(
            program: programs.loadGenerator, port: port,
            targets: try scratch.write(Data(text.utf8), to: "targets-\(port)-\(count)"), count: count,
            options: options, log: scratch.path("sseload.log"))
    }
}

/// Why a measurement failed.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
