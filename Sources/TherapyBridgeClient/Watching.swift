import AsyncHTTPClient
import NIOCore

extension TherapyBridge {
    /// How a watch follows a session.
    public enum Transport: Hashable, Sendable {
        /// Server-Sent Events.
        case stream
        /// A WebSocket.
        case webSocket
        /// `GET` of the status, or of the list of unfinished sessions, with its `ETag`, for networks that hold streams back.
        case poll
    }

    /// Follows one session to its end.
    ///
    /// The loop ends without an error when the session is processed or has failed. It throws ``WatchEnded`` when the right or
    /// the sign-in has ended. It gets every transition; a slow loop skips percentages. Cancel its task to end it.
    ///
    /// - Parameters:
    ///   - session: The session's id.
    ///   - lastEventID: The version after which to resume, or nil.
    ///   - transport: The way to the server.
    ///   - onState: Called with each new state of the connection.
    /// - Returns: The progress objects.
    public func progress(
        of session: String, after lastEventID: String? = nil, by transport: Transport = .stream,
        onState: @escaping @Sendable (WatchState) -> Void = { _ in }
    ) -> ProgressUpdates {
        ProgressUpdates {
            Watcher(self, session: session, transport: transport, lastEventID: lastEventID, onState: onState)
        }
    }

    /// Follows all sessions that the account may see.
    ///
    /// The loop does not end by itself. It throws ``WatchEnded`` when the sign-in has ended.
    ///
    /// - Parameters:
    ///   - lastEventID: The position after which to resume, or nil.
    ///   - transport: The way to the server.
    ///   - onState: Called with each new state of the connection.
    /// - Returns: The events.
    public func events(
        after lastEventID: String? = nil, by transport: Transport = .stream,
        onState: @escaping @Sendable (WatchState) -> Void = { _ in }
    ) -> SessionEvents {
        SessionEvents {
            Watcher(self, session: nil, transport: transport, lastEventID: lastEventID, onState: onState)
        }
    }
}

/// The progress of one session, while it changes.
///
/// Made by ``TherapyBridge/progress(of:after:by:onState:)``.
public struct ProgressUpdates: AsyncSequence, Sendable {
    let makeWatcher: @Sendable () -> Watcher

    /// Begins to watch.
    ///
    /// - Returns: The iterator.
    public func makeAsyncIterator() -> Iterator { Iterator(watcher: makeWatcher()) }

    /// Reads the stream when the loop asks for an item.
    public struct Iterator: AsyncIteratorProtocol {
        let watcher: Watcher

        /// The next progress object.
        ///
        /// - Parameter actor: The caller's isolation.
        /// - Returns: The object; nil at the end of the session.
        /// - Throws: ``WatchEnded``; `CancellationError`.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws -> SessionProgress? {
            while let item = try await watcher.next() {
                if case .progress(let progress, _) = item { return progress }
            }
            return nil
        }

        /// The next progress object, for callers without isolation.
        ///
        /// - Returns: The object; nil at the end of the session.
        /// - Throws: ``WatchEnded``; `CancellationError`.
        public mutating func next() async throws -> SessionProgress? { try await next(isolation: nil) }
    }
}

/// The events of all sessions.
///
/// Made by ``TherapyBridge/events(after:onState:)``.
public struct SessionEvents: AsyncSequence, Sendable {
    let makeWatcher: @Sendable () -> Watcher

    /// Begins to watch.
    ///
    /// - Returns: The iterator.
    public func makeAsyncIterator() -> Iterator { Iterator(watcher: makeWatcher()) }

    /// Reads the stream when the loop asks for an event.
    public struct Iterator: AsyncIteratorProtocol {
        let watcher: Watcher

        /// The next event.
        ///
        /// - Parameter actor: The caller's isolation.
        /// - Returns: The event; never nil.
        /// - Throws: ``WatchEnded``; `CancellationError`.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws -> SessionEvent? {
            switch try await watcher.next() {
            case .progress(let progress, let event): .progress(progress, isNew: event == "session_added")
            case .removed(let id): .removed(sessionID: id)
            case .ready: .ready
            case nil: nil
            }
        }

        /// The next event, for callers without isolation.
        ///
        /// - Returns: The event; never nil.
        /// - Throws: ``WatchEnded``; `CancellationError`.
        public mutating func next() async throws -> SessionEvent? { try await next(isolation: nil) }
    }
}
