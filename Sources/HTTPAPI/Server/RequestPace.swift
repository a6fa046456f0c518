import NIOCore

/// Sets deadlines for the requests of a client, which keep slow clients from holding connections.
///
/// This is a value without a clock or a timer. The handler tells it what arrived and when, and reads the deadline.
struct RequestPace {
    /// How fast a client has to be.
    struct Limits: Sendable {
        /// The maximum time from the first byte of a head to its last.
        var headTime: TimeAmount
        /// How long a part of ``bodyBytes`` of a body may take.
        var bodyTime: TimeAmount
        /// How long the body of an upload may stand still.
        ///
        /// The number of a user's uploads is limited, and so is their time for bytes.
        var uploadTime: TimeAmount = .seconds(120)
        /// How many bytes of a body have to arrive in each ``bodyTime``, unless the body ends first.
        ///
        /// With 30 s this is less than 300 bytes a second, which any usable connection can upload.
        static let bodyBytes = 8192
    }

    private enum State {
        /// No request is incomplete. Goes on to `head` and `body`.
        case quiet
        /// A head has begun. Goes on to `body`.
        case head(until: NIODeadline)
        /// A body has to bring this many more bytes before the deadline. Goes on to `body` again, and to `quiet`.
        case body(until: NIODeadline, missing: Int)
        /// The body of an upload has to go on before the deadline. Goes on to `upload` again, and to `quiet`.
        case upload(until: NIODeadline)
    }

    private let limits: Limits
    private var state = State.quiet

    init(limits: Limits) { self.limits = limits }

    /// Records that bytes arrived, of any kind.
    mutating func bytesCame(at now: NIODeadline) {
        if case .quiet = state { state = .head(until: now + limits.headTime) }
    }

    /// Records that a head is complete.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - isUpload: True if the body is an upload, or a part of one. Phones lose their network for a minute, and go on.
    mutating func headCame(at now: NIODeadline, isUpload: Bool = false) {
        state =
            isUpload
            ? .upload(until: now + limits.uploadTime)
            : .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
    }

    /// Records that a part of a body arrived.
    mutating func bodyCame(_ count: Int, at now: NIODeadline) {
        if case .upload = state, count > 0 { state = .upload(until: now + limits.uploadTime) }
        guard case .body(let deadline, let missing) = state else { return }
        state =
            missing > count
            ? .body(until: deadline, missing: missing - count)
            : .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
    }

    /// Records that a request has its answer.
    ///
    /// The rest of an upload then has no more time than any other body.
    mutating func answerCame(at now: NIODeadline) {
        if case .upload = state { state = .body(until: now + limits.bodyTime, missing: Limits.bodyBytes) }
    }

    /// Records that a request is complete.
    mutating func endCame() { state = .quiet }

    /// Restarts the time: the server caused the delay, not the client.
    mutating func excuse(at now: NIODeadline) {
        switch state {
        case .quiet: break
        case .head: state = .head(until: now + limits.headTime)
        case .body: state = .body(until: now + limits.bodyTime, missing: Limits.bodyBytes)
        case .upload: state = .upload(until: now + limits.uploadTime)
        }
    }

    /// When the next bytes have to be there; nil while no request is incomplete.
    var deadline: NIODeadline? {
        switch state {
        case .quiet: nil
        case .head(let deadline), .body(let deadline, _), .upload(let deadline): deadline
        }
    }

    /// True if the head is complete and the body is not.
    var isInBody: Bool {
        switch state {
        case .body, .upload: true
        case .quiet, .head: false
        }
    }

    /// True if the body of an upload is not complete.
    var isInUpload: Bool {
        if case .upload = state { true } else { false }
    }
}
