import NIOCore

/// How fast a client has to send its requests, so that slow ones do not hold connections for nothing.
///
/// A value without a clock or a timer: it is told what comes and when, and says until when it waits.
struct RequestPace {
    /// What is asked of a client.
    struct Limits: Sendable {
        /// The longest time from the first byte of a head to its last.
        var headTime: TimeAmount
        /// How often the progress of a body is looked at.
        var bodyTime: TimeAmount
        /// What has to come of a body in each ``bodyTime``, unless it comes to its end.
        ///
        /// With 30 s it is less than 300 bytes a second, so that no honest line is too slow for an upload.
        static let bodyBytes = 8192
    }

    private enum State {
        /// There is no request of which only a part has come. Goes to `head` and `body`.
        case quiet
        /// A head has begun. Goes to `body`.
        case head(until: NIODeadline)
        /// A body comes, of which so much is missing until that time. Goes to `body` again, and to `quiet`.
        case body(until: NIODeadline, missing: Int)
    }

    private let limits: Limits
    private var state = State.quiet

    init(limits: Limits) { self.limits = limits }

    /// Bytes came, whatever they are.
    mutating func bytesCame(at now: NIODeadline) {
        if case .quiet = state { state = .head(until: now + limits.headTime) }
    }

    /// A head is complete.
    mutating func headCame(at now: NIODeadline) {
        state = .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
    }

    /// A part of a body came.
    mutating func bodyCame(_ count: Int, at now: NIODeadline) {
        guard case .body(let deadline, let missing) = state else { return }
        state =
            missing > count
            ? .body(until: deadline, missing: missing - count)
            : .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
    }

    /// A request is complete.
    mutating func endCame() { state = .quiet }

    /// The time starts anew: it was not the client for whom somebody waited.
    mutating func excuse(at now: NIODeadline) {
        switch state {
        case .quiet: break
        case .head: state = .head(until: now + limits.headTime)
        case .body: state = .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
        }
    }

    /// Until when something has to come; nil while nothing has to.
    var deadline: NIODeadline? {
        switch state {
        case .quiet: nil
        case .head(let deadline), .body(let deadline, _): deadline
        }
    }

    /// Whether a head is complete, and its body is not.
    var isInBody: Bool {
        if case .body = state { true } else { false }
    }
}
