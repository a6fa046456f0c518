#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What a watch does about each event and each end of a connection.
///
/// A value without I/O and without a clock.
struct WatchMachine {
    /// An item for the caller.
    enum Item: Hashable {
        case progress(SessionProgress, event: String)
        case removed(String)
        case ready
    }

    /// How a connection ended.
    enum Outcome: Hashable {
        /// The watch is over.
        case ended(EndReason, detail: String = "")
        /// The connection broke, or an attempt failed.
        case lost(after: Duration? = nil)
        /// The server ended the stream on purpose, for example after an hour.
        case planned
        /// The access token has expired.
        case expired
        /// The server refused the access token.
        case unauthorized
        /// The server cannot serve the stream now.
        case busy
    }

    /// What to do next.
    enum Action: Hashable {
        case wait(Duration)
        case refresh
        case end(EndReason, detail: String)
    }

    /// The id from which a new connection resumes, or nil.
    private(set) var lastEventID: String?
    /// The state for the caller.
    private(set) var state = WatchState.connecting

    private let followsAll: Bool
    private var versions: Versions
    private var retry: Duration
    private var failures = 0
    private var refusals = 0
    private var wasLive = false
    /// The newest state of one session.
    private var last: SessionProgress?

    init(followsAll: Bool, lastEventID: String?, retry: Duration) {
        self.followsAll = followsAll
        self.lastEventID = lastEventID
        self.retry = retry
        versions = Versions(followsAll: followsAll)
    }

    /// The server named a reconnection delay.
    mutating func named(_ delay: Duration?) {
        if let delay { retry = delay }
    }

    /// A connection stands, but nothing has come yet.
    mutating func opened() {
        versions.opened()
        if state == .offline, wasLive { state = .catchingUp }
    }

    /// A poll is answered with states, which are the newest ones.
    mutating func polled() { versions.opened() }

    /// All states of a poll of all sessions are received.
    ///
    /// - Returns: Those that a restore has set back.
    mutating func settled() -> [Item] {
        live()
        return versions.ready().map { .progress($0, event: "progress") }
    }

    /// The answer to a poll says that nothing has changed.
    mutating func unchanged() { live() }

    /// Handles an event.
    ///
    /// - Returns: Items for the caller, and how the connection ends if it ends with this event.
    mutating func receive(_ event: EventParser.Event) -> (items: [Item], outcome: Outcome?) {
        switch event.name {
        case "progress", "complete", "error", "session_added": return receiveState(event)
        case "ready":
            keep(event.id)
            return (settled() + [.ready], nil)
        case "session_removed":
            guard let id = decode(Removal.self, event)?.session_id else { return ([], nil) }
            keep(event.id)
            return ([removed(id)], nil)
        case "degraded": state = .degraded
        case "recovered": live()
        case "unavailable": return ([], .busy)
        case "revoked": return ([], .ended(.revoked, detail: "The right to see this has ended."))
        case "expired": return ([], .expired)
        default: break  // A newer server has more events.
        }
        return ([], nil)
    }

    private struct Removal: Decodable { let session_id: String }

    /// The data of an event, or nil if it is not what the event should have.
    ///
    /// Its id is not kept then: a reconnect gets the state again.
    private func decode<Value: Decodable>(_ type: Value.Type, _ event: EventParser.Event) -> Value? {
        try? JSONDecoder().decode(type, from: Data(event.data.utf8))
    }

    private mutating func receiveState(_ event: EventParser.Event) -> (items: [Item], outcome: Outcome?) {
        guard let progress = decode(SessionProgress.self, event) else { return ([], nil) }
        return receive(progress, as: event.name, id: event.id)
    }

    /// Handles a state.
    ///
    /// - Parameters:
    ///   - progress: The state.
    ///   - name: The name of its event.
    ///   - id: The id of its event, or nil.
    /// - Returns: Items for the caller, and how the connection ends if it ends with this state.
    mutating func receive(
        _ progress: SessionProgress, as name: String, id: String? = nil
    ) -> (items: [Item], outcome: Outcome?) {
        let isNew = versions.accept(progress)
        let items = isNew ? [Item.progress(progress, event: name)] : []
        if followsAll {
            keep(id)
            return (items, nil)
        }
        live()
        if isNew {
            lastEventID = String(progress.version)
            last = progress
        }
        switch name {
        case "complete": return (items, .ended(.complete))
        case "error": return (items, .ended(.failed, detail: progress.error ?? ""))
        default: return (items, nil)
        }
    }

    /// Forgets a session that was deleted, or that the caller sees no more.
    mutating func removed(_ id: String) -> Item {
        versions.remove(id)
        return .removed(id)
    }

    /// How a Close frame ends the connection of a WebSocket.
    func closeFrame(code: Int, reason: String) -> Outcome {
        switch (code, reason) {
        case (1000, _):
            switch last?.status {
            case .processed: .ended(.complete)
            case .failed: .ended(.failed, detail: last?.error ?? "")
            default: .ended(.finished)
            }
        case (1001, _): .planned
        case (1013, _), (1011, "unavailable"): .busy
        case (1008, "unauthorized"): .unauthorized
        case (1008, "expired"): .expired
        case (1008, "revoked"), (1008, "forbidden"), (1008, "not-found"), (1008, "account-inactive"):
            .ended(EndReason(rawValue: reason) ?? .refused, detail: reason)
        case (1008, _), (1002, _), (1007, _), (1009, _): .ended(.refused, detail: reason)
        default: .lost()
        }
    }

    private mutating func keep(_ id: String?) {
        if followsAll, let id, !id.isEmpty { lastEventID = id }
    }

    private mutating func live() {
        failures = 0
        refusals = 0
        wasLive = true
        state = .live
    }

    /// Decides what follows the end of a connection.
    ///
    /// - Parameters:
    ///   - outcome: How the connection ended.
    ///   - jitter: See ``BackOff``.
    /// - Returns: What to do.
    mutating func closed(_ outcome: Outcome, jitter: Double = .random(in: 0...1)) -> Action {
        switch outcome {
        case .ended(let reason, let detail): return end(reason, detail)
        case .unauthorized:
            refusals += 1
            if refusals > 1 { return end(.signedOut, "The server refuses fresh tokens.") }
            if state == .live { state = .catchingUp }
            return .refresh
        case .expired:
            if state == .live { state = .catchingUp }
            return .refresh
        case .planned:
            state = .catchingUp
            return .wait(BackOff.delay(retry, failures: 0, jitter: jitter))
        case .busy:
            state = .degraded
            return waitAfterFailure(nil, jitter)
        case .lost(let minimum):
            state = .offline
            return waitAfterFailure(minimum, jitter)
        }
    }

    /// The tokens are new.
    ///
    /// A token that expires at once must not make a busy loop.
    ///
    /// - Returns: What to wait before the next connection, or nil.
    mutating func refreshed(jitter: Double = .random(in: 0...1)) -> Duration? {
        failures += 1
        return failures > 3 ? BackOff.delay(retry, failures: failures, jitter: jitter) : nil
    }

    /// The sign-in has ended.
    mutating func signedOut(_ reason: EndReason) -> Action { end(reason, "The sign-in has ended.") }

    /// The refresh failed for now.
    mutating func refreshFailed(_ error: APIError, failures: Int, jitter: Double = .random(in: 0...1)) -> Duration {
        state = .offline
        return BackOff.delay(retry, failures: failures, minimum: error.retryAfter, jitter: jitter)
    }

    private mutating func waitAfterFailure(_ minimum: Duration?, _ jitter: Double) -> Action {
        defer { failures += 1 }
        return .wait(BackOff.delay(retry, failures: failures, minimum: minimum, jitter: jitter))
    }

    private mutating func end(_ reason: EndReason, _ detail: String) -> Action {
        state = .ended(reason)
        return .end(reason, detail: detail)
    }
}

extension WatchMachine.Outcome {
    /// What the refusal of a request means for a watch.
    init(_ error: APIError) {
        switch error.status {
        case 401: self = .unauthorized
        case 403:
            self = .ended(error.isOfInactiveAccount ? .accountInactive : .forbidden, detail: error.detail)
        case 404: self = .ended(.notFound, detail: error.detail)
        default:
            self = error.isTemporary ? .lost(after: error.retryAfter) : .ended(.refused, detail: error.detail)
        }
    }
}
