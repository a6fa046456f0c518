import Domain
import Progress
import Synchronization

/// The hub's answer to a request that ``OpeningHandler`` has read, for the route of the stream.
///
/// The route makes a response of it, which passes the middleware like any other. The request is therefore authorized and
/// recorded once.
final class PreparedOpening: Sendable {
    /// The answer to the first request of the connection whose task this is.
    @TaskLocal static var ofConnection: PreparedOpening?

    /// Names the request: the audit record has this id already.
    let requestID: RequestIdentifier
    private let session: SessionID
    private let principal: Principal
    private let version: Int64?
    private let answer: Result<SubscribeOutcome, any Error>
    private let isTaken = Atomic(false)

    init(_ opening: StreamOpening, _ answer: Result<SubscribeOutcome, any Error>) {
        requestID = opening.requestID
        session = opening.head.session
        principal = opening.claims.principal
        version = opening.head.version
        self.answer = answer
    }

    /// The answer for the request that begins now; nil if an earlier request has it.
    func take() -> PreparedOpening? { isTaken.exchange(true, ordering: .relaxed) ? nil : self }

    /// The answer to a request; nil if it is the answer to another.
    func answer(
        to session: SessionID, for principal: Principal, after version: Int64?
    ) -> Result<SubscribeOutcome, any Error>? {
        (session, principal) == (self.session, self.principal) && version == self.version ? answer : nil
    }
}
