import AsyncHTTPClient
import NIOCore
import NIOFoundationEssentialsCompat
import NIOHTTP1

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Acts for a ``WatchMachine``: connects, reads and waits.
///
/// It reads from the network when the caller asks for an item. A slow caller therefore slows down the server, which then
/// skips percentages.
actor Watcher {
    let client: TherapyBridge
    /// The session's id; nil for all sessions.
    let session: String?
    var machine: WatchMachine
    var items: ArraySlice<WatchMachine.Item> = []
    var outcome: WatchMachine.Outcome?
    var usedToken: String?
    var socket: SocketLine?
    /// What the polls have seen, over all connections.
    var list = PolledList()
    var entityTag: String?
    var hasPolled = false
    private let transport: TherapyBridge.Transport
    private let onState: @Sendable (WatchState) -> Void
    private var told: WatchState?
    private var connection: Connection?
    private var end: (reason: EndReason, detail: String)?

    init(
        _ client: TherapyBridge, session: String?, transport: TherapyBridge.Transport, lastEventID: String?,
        onState: @escaping @Sendable (WatchState) -> Void
    ) {
        self.client = client
        self.session = session
        self.transport = transport
        self.onState = onState
        machine = WatchMachine(followsAll: session == nil, lastEventID: lastEventID, retry: client.options.retry)
    }

    /// An open stream.
    ///
    /// A class without isolation, because the iterator of the body cannot leave its domain.
    private final class Connection {
        var body: HTTPClientResponse.Body.AsyncIterator
        var parser = EventParser()
        var hasEvents = false

        init(_ response: HTTPClientResponse) { body = response.body.makeAsyncIterator() }

        func next(isolation: isolated Watcher) async throws -> ByteBuffer? { try await body.next(isolation: isolation) }
    }

    deinit { socket?.close() }

    /// The path of the session's progress, or of that of all sessions.
    var path: String { session.map { "/api/sessions/\($0)/status" } ?? "/api/sessions/status" }

    /// The next item for the caller; nil at the end of the session.
    ///
    /// - Throws: ``WatchEnded``; `CancellationError`.
    func next() async throws -> WatchMachine.Item? {
        while true {
            if let item = items.popFirst() { return item }
            tell()
            if let end {
                if end.reason.isOfSession { return nil }
                throw WatchEnded(reason: end.reason, detail: end.detail)
            }
            if let outcome {
                self.outcome = nil
                connection = nil
                socket?.close()
                socket = nil
                try await act(machine.closed(outcome))
                continue
            }
            do {
                switch transport {
                case .poll: try await poll()
                case .webSocket: if let socket { try await read(socket) } else { try await connectSocket() }
                case .stream: if let connection { try await read(connection) } else { try await connect() }
                }
            } catch let error as APIError {
                outcome = WatchMachine.Outcome(error)
            }
            try Task.checkCancellation()
        }
    }

    private func tell() {
        if told == machine.state { return }
        told = machine.state
        onState(machine.state)
    }

    private func act(_ action: WatchMachine.Action) async throws {
        tell()
        switch action {
        case .end(let reason, let detail): end = (reason, detail)
        case .wait(let delay): try await client.options.clock.sleep(for: delay)
        case .refresh: try await refresh()
        }
    }

    private func refresh() async throws {
        var failures = 0
        while true {
            do {
                if let reason = try await client.refresh(since: usedToken) {
                    return try await act(machine.signedOut(reason))
                }
                if let delay = machine.refreshed() { try await client.options.clock.sleep(for: delay) }
                return
            } catch let error as APIError {
                let delay = machine.refreshFailed(error, failures: failures)
                failures += 1
                tell()
                try await client.options.clock.sleep(for: delay)
            }
        }
    }

    // MARK: The stream

    private func connect() async throws {
        usedToken = await client.credentials.access
        var headers = [("Accept", "text/event-stream")]
        if let id = machine.lastEventID { headers.append(("Last-Event-ID", id)) }
        let response = try await client.open(.GET, "\(path)/stream", headers: headers)
        if response.status == .noContent {
            outcome = .ended(.finished)
            return
        }
        guard response.status == .ok else {
            let body = try? await client.watched { try await response.body.collect(upTo: 64 * 1024) }
            try Task.checkCancellation()
            outcome = WatchMachine.Outcome(APIError(response, body: body.map { Data(buffer: $0) } ?? Data()))
            return
        }
        // Something between us and the server, such as the sign-in of a WiFi, may answer in its place.
        let type = response.headers.first(name: "Content-Type")?.lowercased() ?? ""
        guard type.hasPrefix("text/event-stream") else {
            outcome = .lost()
            return
        }
        machine.opened()
        connection = Connection(response)
    }

    private func nextBytes() async throws -> ByteBuffer? { try await connection?.next(isolation: self) }

    private func read(_ connection: Connection) async throws {
        do {
            guard let bytes = try await client.watched({ try await self.nextBytes() }) else {
                outcome = connection.hasEvents && !connection.parser.isInsideEvent ? .planned : .lost()
                return
            }
            let events = try connection.parser.feed(bytes.readableBytesView)
            machine.named(connection.parser.retry)
            for event in events {
                connection.hasEvents = true
                let result = machine.receive(event)
                tell()
                items += result.items
                if let end = result.outcome {
                    outcome = end
                    return
                }
            }
        } catch {
            // The connection broke, was silent for too long, or sent an event without an end.
            try Task.checkCancellation()
            outcome = .lost()
        }
    }
}
