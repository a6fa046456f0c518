import Credentials
import Domain
import HTTPTypes
import Logging
import Polling
import Progress
import Store
import Streaming

/// A request for the stream of one session, with a good access token.
struct StreamOpening: Sendable {
    let head: OpeningHead
    let claims: AccessClaims
    /// Where the request came from, past the trusted proxies.
    let network: ClientNetwork
    /// Names the request to the client, in the log and in the audit log.
    let requestID: RequestIdentifier
    /// When the request came.
    let cameAt: ContinuousClock.Instant
}

/// Opens streams of one session without the framework.
///
/// After a restart, all clients open their streams at once. A task, a request and a response of the framework would cost
/// most of an opening. The opener asks the hub the same question as ``StreamRoute``, and writes what the route and the
/// middleware would: the head, the log line and the metrics. It answers only a request that begins a stream. The framework
/// answers every other one.
struct StreamOpener: Sendable {
    let engine: StreamEngine
    let tokens: AccessTokens
    let metrics: RequestMetrics
    let head: StreamHead
    let trustedProxies: AddressRanges
    let clock: any MonotonicClock

    /// Reads a request.
    ///
    /// - Parameters:
    ///   - bytes: Everything that the client has sent.
    ///   - peer: The address at the other end of the connection.
    /// - Returns: Nil for a request that is the framework's.
    func read(_ bytes: [UInt8], from peer: IPAddress) -> StreamOpening? {
        guard let head = OpeningHead(bytes), let claims = tokens.verifyAtOnce(head.token) else { return nil }
        let address = trustedProxies.client(peer: peer, forwarded: head.forwardedFor)
        return StreamOpening(
            head: head, claims: claims, network: address.network, requestID: .random(),
            cameAt: clock.now)
    }

    /// Asks the hub for the stream.
    ///
    /// - Parameters:
    ///   - opening: The request.
    ///   - answer: Gets the hub's answer, on the hub's thread.
    func subscribe(
        _ opening: StreamOpening, answer: @escaping @Sendable (Result<SubscribeOutcome, any Error>) -> Void
    ) {
        engine.hub.subscribe(
            to: opening.head.session, for: opening.claims.principal, after: opening.head.version,
            requestID: opening.requestID, network: opening.network, answer: answer)
    }

    /// Gives the connection of a request to the reactor, if the hub's answer begins a stream.
    ///
    /// - Parameters:
    ///   - opening: The request.
    ///   - answer: The hub's answer.
    ///   - descriptor: The connection. If the result is true, it belongs to the reactor.
    ///   - logger: Takes the log line.
    /// - Returns: False if the framework has to answer.
    func begin(
        _ opening: StreamOpening, _ answer: Result<SubscribeOutcome, any Error>, on descriptor: CInt,
        _ logger: Logger
    ) -> Bool {
        guard case .success(.subscribed(let authorization, let watch?)) = answer,
            let message = try? authorization.firstMessage(after: opening.head.version)
        else { return false }
        let handoff = StreamHandoff(
            engine: engine, watch: watch, firstPayload: StreamRoute.preamble + message.bytes,
            version: authorization.seenVersion(opening.head.version), claims: opening.claims)
        engine.adopt(
            handoff, StreamSocket(owning: descriptor), head: head.bytes(requestID: opening.requestID), as: .chunks)
        record(opening, logger)
        return true
    }

    /// Writes the log line and the metrics of a stream that has begun.
    private func record(_ opening: StreamOpening, _ logger: Logger) {
        let duration = clock.now - opening.cameAt
        // The logger asks for the metadata only if its level is on.
        func metadata() -> Logger.Metadata {
            var metadata = RequestLog.metadata(.get, StreamRoute.path, .ok, duration)
            metadata[RequestLog.idKey] = "\(opening.requestID)"
            RequestLog.name(opening.claims.user, opening.head.session, in: &metadata)
            return metadata
        }
        logger.debug("stream opened without the framework", metadata: metadata())
        logger.info("request", metadata: metadata())
        metrics.count(method: .get, route: StreamRoute.path, status: .ok, after: duration)
    }
}
