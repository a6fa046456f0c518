/// The effect of a client that stops reading on the other clients.
struct StoppedClient: Scenario {
    static let name = "stopped-client"
    static let summary = "the latency of one client while another, on the same sessions, has stopped reading"

    private static let sessions = 200
    private static let perSession = 10
    /// The message has the greatest length that the database keeps, so that the buffers of the stopped client fill
    /// within seconds.
    private static let padding = 1900

    func run(on bed: TestBed) async throws -> [Finding] {
        let (without, with) = try await bed.withServer { server in
            let reader = try await bed.ownSessions(of: server, Self.sessions, perSession: Self.perSession)
            var stopper = reader
            stopper.options = ["--receive-buffer", "4096"]
            return try await EventStreams.lend(reader) { readers in
                try await EventStreams.lend(stopper) { stoppers in
                    _ = try await latency(of: readers, on: bed, .seconds(2))
                    let without = try await latency(of: readers, on: bed, bed.duration(15))
                    let with = try await stoppers.stopped {
                        // Waits until the buffers between the server and the stopped client are full.
                        _ = try await latency(of: readers, on: bed, bed.duration(20))
                        return try await latency(of: readers, on: bed, bed.duration(15))
                    }
                    return (without, with)
                }
            }
        }
        let streams = Self.sessions * Self.perSession
        return [
            Finding(
                """
                Commit to wire, p99, of \(counted(streams, "streams")) while as many on the same \
                \(counted(Self.sessions, "sessions")) have stopped reading, compared to while those read: \
                \(Figure(with, .milliseconds)) to \(Figure(without, .milliseconds))
                """,
                Figure(with / without, .times), target: .atMost(1.5))
        ]
    }

    /// The p99 latency of long messages.
    ///
    /// Each session sends one per second, and at that pace each goes out at once.
    private func latency(of streams: EventStreams, on bed: TestBed, _ duration: Duration) async throws -> Double {
        let publisher = Publisher(rate: Self.sessions, duration: duration)
        _ = try await publisher.report(to: bed.database, 1..<Self.sessions + 1, padding: Self.padding)
        return try await streams.latency(of: publisher.count * Self.perSession).p99
    }
}
