import Credentials
import Domain
import Hummingbird
import Logging
import NIOCore
import Postgres
import Progress
import Store
import Streaming

/// One open stream, from its first state to its end.
struct EventStream: Sendable {
    let subscription: ProgressSubscription
    let claims: AccessClaims
    let gate: SessionGate
    let progress: ProgressStore
    let settings: HTTPSettings
    let logger: Logger

    /// How the stream goes on after something was written.
    private enum Next {
        case goesOn
        case ends
    }

    /// What ends the stream while it waits for the database.
    private enum Ending: Error {
        /// The access token has expired.
        case expired
        /// The server stops.
        case closing
    }

    /// What the stream remembers of what it has sent.
    private struct Position {
        var version: Int64
        var rightsEpoch: Int64
        var isDegraded = false
    }

    private var session: SessionID { subscription.watcher.session }

    /// Writes the stream until it ends.
    ///
    /// - Parameters:
    ///   - opened: The state that the stream begins with, and the epoch of the rights that let it in.
    ///   - replay: The transitions since the version that the client has.
    /// - Throws: `CancellationError` or the channel's error when the client has gone.
    func run(
        from opened: SessionGate.Opened, replay: [StatusTransition], writer: inout any ResponseBodyWriter
    ) async throws {
        var bytes = ServerSentEvent.retry(.seconds(2))
        for transition in replay where transition.version < opened.progress.version {
            bytes += ServerSentEvent.passed(transition.progress(of: session, createdAt: opened.progress.createdAt))
        }
        bytes += ServerSentEvent.state(opened.progress)
        try await writer.write(ByteBuffer(bytes: bytes))
        if opened.progress.status.isFinished { return }

        var position = Position(version: opened.progress.version, rightsEpoch: opened.rightsEpoch)
        let clock = ContinuousClock()
        let expiry = clock.now.advanced(by: claims.expiresAt.duration(since: .now()))
        let lifetimeEnd = clock.now.advanced(by: settings.maximumStreamLifetime * Double.random(in: 0.9...1.1))
        while true {
            let heartbeat = clock.now.advanced(by: settings.heartbeatInterval)
            let news = await subscription.watcher.next(until: min(heartbeat, expiry, lifetimeEnd))
            try Task.checkCancellation()
            if clock.now >= expiry {
                return try await writer.write(ByteBuffer(bytes: ServerSentEvent.expired(session)))
            }
            if let news {
                do {
                    guard try await write(news, &position, &writer) == .goesOn else { return }
                } catch Ending.expired {
                    return try await writer.write(ByteBuffer(bytes: ServerSentEvent.expired(session)))
                } catch Ending.closing {
                    return try await writer.write(ByteBuffer(bytes: ServerSentEvent.retry(jitteredRetry())))
                }
            } else if clock.now < lifetimeEnd {
                try await writer.write(ByteBuffer(bytes: ServerSentEvent.heartbeat))
            }
            if clock.now >= lifetimeEnd {
                return try await writer.write(ByteBuffer(bytes: ServerSentEvent.retry(jitteredRetry())))
            }
        }
    }

    private func write(
        _ news: WatcherNews, _ position: inout Position, _ writer: inout any ResponseBodyWriter
    ) async throws -> Next {
        if news.isClosing {
            try await writer.write(ByteBuffer(bytes: ServerSentEvent.retry(jitteredRetry())))
            return .ends
        }
        if let degraded = news.degraded { try await say(degraded: degraded, &position, &writer) }
        if news.isGone { return try await revoke(&writer) }
        let transitions = try await transitions(in: news, &position, &writer)
        if news.missedTransitions || news.rightsEpoch.map({ $0 != position.rightsEpoch }) ?? false {
            // Rights may have changed, perhaps not this one: ask, after the last wait and before anything is written.
            guard let epoch = try await readRightsAgain(&position, &writer) else { return try await revoke(&writer) }
            position.rightsEpoch = epoch
        }
        guard let latest = news.latest, latest.version > position.version else { return .goesOn }
        var bytes: [UInt8] = []
        for transition in transitions where transition.version > position.version && transition.version < latest.version
        {
            bytes += ServerSentEvent.passed(transition.progress(of: session, createdAt: latest.createdAt))
        }
        bytes += ServerSentEvent.state(latest)
        position.version = latest.version
        try await writer.write(ByteBuffer(bytes: bytes))
        return latest.status.isFinished ? .ends : .goesOn
    }

    private func revoke(_ writer: inout any ResponseBodyWriter) async throws -> Next {
        try await writer.write(ByteBuffer(bytes: ServerSentEvent.revoked(session)))
        return .ends
    }

    private func say(
        degraded: Bool, _ position: inout Position, _ writer: inout any ResponseBodyWriter
    ) async throws {
        guard degraded != position.isDegraded else { return }
        position.isDegraded = degraded
        let bytes = degraded ? ServerSentEvent.degraded : ServerSentEvent.recovered
        try await writer.write(ByteBuffer(bytes: bytes))
    }

    /// The transitions of the news, or where the mailbox could not hold them, the database's.
    private func transitions(
        in news: WatcherNews, _ position: inout Position, _ writer: inout any ResponseBodyWriter
    ) async throws -> [StatusTransition] {
        guard news.missedTransitions else { return news.transitions }
        let version = position.version
        return try await persistently(&position, &writer) {
            try await progress.transitions(of: session, after: version)
        }
    }

    /// The epoch under which the right still stands; nil when it does not.
    private func readRightsAgain(
        _ position: inout Position, _ writer: inout any ResponseBodyWriter
    ) async throws -> Int64? {
        do {
            return try await persistently(&position, &writer) {
                try await gate.open(session, for: claims, to: .see).rightsEpoch
            }
        } catch is Problem {
            return nil
        }
    }

    /// Reads from the database for as long as that takes: the stream stays open, says that it is degraded, and its
    /// heartbeats go on.
    ///
    /// Nothing of the session is written meanwhile.
    private func persistently<Result>(
        _ position: inout Position, _ writer: inout any ResponseBodyWriter, _ read: () async throws -> Result
    ) async throws -> Result {
        while true {
            do {
                let result = try await read()
                if Timestamp.now() >= claims.expiresAt { throw Ending.expired }
                try await say(degraded: false, &position, &writer)
                return result
            } catch let error as PostgresError where error.isTransient {
                try await say(degraded: true, &position, &writer)
                try await Task.sleep(for: min(.seconds(1), settings.heartbeatInterval))
                if subscription.watcher.isClosing { throw Ending.closing }
                if Timestamp.now() >= claims.expiresAt { throw Ending.expired }
                try await writer.write(ByteBuffer(bytes: ServerSentEvent.heartbeat))
            }
        }
    }
}
