import Synchronization

/// What a route takes back if the client does not get its answer.
///
/// The body of an answer runs only after its head is written. A route that gives something away therefore leaves the way
/// back here, and the responder takes it whatever has failed: the head, the body, or code around the route.
final class AnswerDelivery: Sendable {
    private let wayBack = Mutex<(@Sendable () async -> Void)?>(nil)

    /// Leaves what to do if the answer is not delivered.
    func ifUndelivered(_ action: @escaping @Sendable () async -> Void) { wayBack.withLock { $0 = action } }

    /// True if a route has left what to do, and the answer is not delivered yet.
    var isAwaited: Bool { wayBack.withLock { $0 != nil } }

    /// Notes that the whole answer is written.
    func delivered() { wayBack.withLock { $0 = nil } }

    /// Ends the work on the request: takes the way back unless the answer is delivered.
    ///
    /// A second call does nothing.
    func end() async {
        let action = wayBack.withLock { $0.take() }
        await action?()
    }
}
