import AsyncHTTPClient
import Foundation
import NIOCore
import NIOFoundationCompat
import NIOHTTP1

/// Acts for a ``WatchMachine``: connects, reads and waits.
///
/// It reads from the network when the caller asks for an item. A slow caller therefore slows down the server, which then
/// skips percentages.
actor Watcher {
    private let client: TherapyBridge
    private let session: String?
    private let polls: Bool
    private let onState: @Sendable (WatchState) -> Void
    private var machine: WatchMachine
    private var told: WatchState?
    private var items: ArraySlice<WatchMachine.Item> = []
    private var connection: Connection?
    private var outcome: WatchMachine.Outcome?
    private var usedToken: String?
    private var entityTag: String?
    private var hasPolled = false
    private var end: (reason: EndReason, detail: String)?

    init(
        _ client: TherapyBridge, session: String?, polls: Bool, lastEventID: String?,
        onState: @escaping @Sendable (WatchState) -> Void
    ) {
        self.client = client
        self.session = session
        self.polls = polls
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
                try await act(machine.closed(outcome))
                continue
            }
            do {
                if polls {
                    try await poll()
                } else if let connection {
                    try await read(connection)
                } else {
                    try await connect()
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
        case .wait(let delay): try await Task.sleep(for: delay)
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
                if let delay = machine.refreshed() { try await Task.sleep(for: delay) }
                return
            } catch let error as APIError {
                let delay = machine.refreshFailed(error, failures: failures)
                failures += 1
                tell()
                try await Task.sleep(for: delay)
            }
        }
    }

    // MARK: The stream

    private func connect() async throws {
        usedToken = await client.credentials.access
        var headers = [("Accept", "text/event-stream")]
        if let id = machine.lastEventID { headers.append(("Last-Event-ID", id)) }
        let path = session.map { "/api/sessions/\($0)/status/stream" } ?? "/api/sessions/status/stream"
        let response = try await client.open(.GET, path, headers: headers)
        if response.status == .noContent {
            outcome = .ended(.finished)
            return
        }
        guard response.status == .ok else {
            let body = try? await response.body.collect(upTo: 64 * 1024)
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

    private func read(_ connection: Connection) async throws {
        do {
            guard let bytes = try await connection.next(isolation: self) else {
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

    // MARK: The poll

    private func poll() async throws {
        guard let session else { preconditionFailure("only one session can be polled") }
        if hasPolled {
            try await Task.sleep(for: client.options.pollInterval * Double.random(in: 0.75...1.25))
        }
        usedToken = await client.credentials.access
        let headers = entityTag.map { [("If-None-Match", $0)] } ?? []
        hasPolled = false  // A failure waits by the back-off.
        let answer = try await client.send(.GET, "/api/sessions/\(session)/status", headers: headers)
        if answer.response.status == .notModified {
            machine.unchanged()
        } else {
            let text = String(decoding: try answer.checked().body, as: UTF8.self)
            machine.polled()
            let status = (try? answer.decoded(SessionProgress.self))?.status
            // The name says that the session is finished, as in the stream.
            let name = status == .processed ? "complete" : status == .failed ? "error" : "progress"
            let result = machine.receive(EventParser.Event(name: name, id: nil, data: text))
            items += result.items
            outcome = result.outcome
            entityTag = answer.response.headers.first(name: "ETag")
        }
        hasPolled = true
    }
}
