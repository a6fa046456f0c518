import Foundation

/// What scenarios work with: the database, the programs and a place for files.
struct TestBed: Sendable {
    /// The programs that were built together with this one.
    struct Programs: Sendable {
        let server: String
        let loadGenerator: String

        /// They lie beside this program.
        static func find() throws -> Programs {
            let folder = URL(filePath: Bundle.main.executablePath ?? CommandLine.arguments[0])
                .deletingLastPathComponent()
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
    let workplace: ScratchDirectory
    let database: BenchDatabase
    let peers: Peers
    /// How many streams the server is asked to hold, where the scenario does not say.
    let streams: Int
    /// How many streams FastAPI is asked to hold: it takes far longer to open them.
    let fastAPIStreams: Int
    /// Shorter and smaller, to try the benchmark itself.
    let isQuick: Bool

    /// How many streams one process can hold: as many as it may have descriptors, less those for everything else.
    ///
    /// The server needs a second descriptor for each stream only while that opens.
    var mostStreams: Int { descriptorLimit() - 1000 }

    /// A duration that is a quarter in a quick run.
    func duration(_ seconds: Double) -> Duration { .seconds(isQuick ? seconds / 4 : seconds) }

    // MARK: Servers

    func withServer<Result: Sendable>(_ body: (BenchServer) async throws -> Result) async throws -> Result {
        try await BenchServer.lend(program: programs.server, over: database, in: workplace, body)
    }

    /// What a measurement of nchan comes to; when it fails or nchan is missing, why there is nothing.
    func nchan(_ body: (RunningPeer) async throws -> Figure) async throws -> PeerFigure {
        try await measure("nchan", isInstalled: peers.nchan != nil) {
            try await peers.nchan?.lend(in: workplace, descriptors: descriptorLimit(), body)
        }
    }

    /// What a measurement of one of the designs of FastAPI comes to; when it fails or FastAPI is missing, why there is
    /// nothing.
    func fastAPI(_ name: String, _ body: (RunningPeer) async throws -> Figure) async throws -> PeerFigure {
        try await measure(name, isInstalled: peers.fastAPI != nil) {
            try await peers.fastAPI?.lend(in: workplace, body)
        }
    }

    /// A peer that fails does not spoil the figure that it was to be compared with.
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

    /// Streams of patients, each on its own session, from number 1 on, and so many on each.
    ///
    /// The header is a further one of each request, such as `Last-Event-ID: 1`.
    func ownSessions(
        of server: BenchServer, _ sessions: Int, perSession: Int = 1, header: String? = nil, options: [String] = []
    ) async throws -> EventStreams.Plan {
        let tokens = try await database.tokens(of: .patient, 1..<sessions + 1)
        let targets = tokens.enumerated().map { index, token in
            Self.target(session: index + 1, token: token) + (header.map { "\t\($0)" } ?? "")
        }
        return try plan(port: server.port, targets, count: sessions * perSession, options: options)
    }

    /// Streams of therapists, all on session 0.
    func oneSession(of server: BenchServer, _ count: Int) async throws -> EventStreams.Plan {
        let tokens = try await database.tokens(of: .therapist, 1..<count + 1)
        return try plan(port: server.port, tokens.map { Self.target(session: 0, token: $0) }, count: count)
    }

    /// Streams of a peer, on a path for each, from number 1 on.
    func peerStreams(
        of peer: RunningPeer, _ count: Int, options: [String] = [], path: (Int) -> String
    ) throws -> EventStreams.Plan {
        // A peer has nothing to say before a first message.
        try plan(port: peer.port, (1...count).map(path), count: count, options: ["--open-with", "head"] + options)
    }

    private static func target(session: Int, token: String) -> String {
        "/api/sessions/\(BenchDatabase.id(.session, session))/status/stream\tAuthorization: Bearer \(token)"
    }

    private func plan(port: Int, _ targets: [String], count: Int, options: [String] = []) throws -> EventStreams.Plan {
        let text = targets.map { $0 + "\n" }.joined()
        return EventStreams.Plan(
            program: programs.loadGenerator, port: port,
            targets: try workplace.write(Data(text.utf8), to: "targets-\(port)-\(count)"), count: count,
            options: options, log: workplace.path("sseload.log"))
    }
}

/// Why a measurement could not be made, in words for whoever runs it.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
