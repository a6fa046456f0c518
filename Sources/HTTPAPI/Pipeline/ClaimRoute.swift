import Credentials
import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import Metrics
import NIOCore
import Polling
import ServiceLifecycle
import Store

/// `POST /api/pipeline/claim`: a pipeline claims a session, and may wait for one.
struct ClaimRoute: Sendable {
    let recorder: AccessRecorder
    let queue: PipelineStore
    let signals: WorkSignals
    let clock: any MonotonicClock
    /// Counts the requests that wait.
    let waiting: Meter

    /// The longest wait for a session.
    static let longestWait = Duration.seconds(60)
    /// The longest pause between two looks of a server into the queue without a signal.
    ///
    /// No notification tells of a lease that runs out, and a notification may be lost. Only the request that has waited
    /// longest looks: a crowd of waiting requests costs no more than one.
    private static let idleInterval = Duration.seconds(5)

    func add(to table: inout RouteTable) {
        table.user(.post, "/api/pipeline/claim", claim)
    }

    @Sendable private func claim(_ request: Request, _ context: UserContext) async throws -> Response {
        // No relation counts for a pipeline.
        let isPipeline = Access.permits(
            .process, to: context.user.role, as: Relation(isPatient: false, isAssigned: false))
        if !isPipeline {
            let refusal = Problem(.forbidden, "Only pipelines claim sessions.")
            try await recorder.admit(context, to: .claim, if: false, else: refusal)
        }
        let body = try await JSON.decode(ClaimBody.self, from: request)
        guard let claim = try await claim(body, waiting: request.preferredWait(atMost: Self.longestWait), context)
        else {
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
        return response(to: claim, context)
    }

    /// Claims a session, and waits for one as long as the client likes to.
    private func claim(
        _ body: ClaimBody, waiting wait: Duration, _ context: UserContext
    ) async throws -> AccountClaim? {
        let waiter = WorkSignals.Waiter()
        await context.connection.whenClientLeaves { waiter.end() }
        return try await withGracefulShutdownHandler {
            try await claim(body, by: waiter, until: clock.now + wait, context)
        } onGracefulShutdown: {
            waiter.end()
        }
    }

    private func claim(
        _ body: ClaimBody, by waiter: WorkSignals.Waiter, until deadline: ContinuousClock.Instant,
        _ context: UserContext
    ) async throws -> AccountClaim? {
        // Signals the next request unless this one has found the queue empty, and no signal has woken it since.
        var foundNothing = false
        defer { if !signals.leave(waiter) || !foundNothing { signals.signal() } }
        while true {
            foundNothing = false
            // A request that no signal has woken keeps its position. Otherwise all requests would look in turn.
            signals.enter(waiter)
            if waiter.hasEnded { return nil }
            let claim = try await queue.claim(
                worker: body.worker, lease: body.lease, as: context.claims.principal, requestID: context.requestID,
                from: context.network)
            if let claim { return claim }
            foundNothing = true
            guard clock.now < deadline, !Task.isCancelled else { return nil }
            repeat {
                await wait(for: waiter, atMost: min(clock.now.duration(to: deadline), Self.idleInterval))
            } while !waiter.isWoken && !signals.isFirst(waiter) && clock.now < deadline && !Task.isCancelled
        }
    }

    private func wait(for waiter: WorkSignals.Waiter, atMost time: Duration) async {
        waiting.increment()
        defer { waiting.decrement() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await waiter.wait() }
            group.addTask { [clock] in try? await clock.sleep(for: time) }
            await group.next()
            group.cancelAll()
        }
    }

    // MARK: - The answer

    /// The answer with a claim.
    ///
    /// If it cannot be written, the session goes back to the queue.
    private func response(to claim: AccountClaim, _ context: UserContext) -> Response {
        let (connection, delivery) = (context.connection, context.delivery)
        delivery.ifUndelivered { [queue, logger = context.logger] in
            logger.info("claim not delivered", metadata: ["session": "\(claim.session)"])
            // Not structured: this task may be cancelled, and the pool sends no statement of a cancelled task.
            await Task {
                do {
                    try await queue.giveBack(claim)
                } catch {
                    logger.warning(
                        "session left until its lease ends",
                        metadata: ["session": "\(claim.session)", "error": "\(error)"])
                }
            }.value
        }
        let json = JSON.encode(ClaimAnswer(claim))
        let body = ResponseBody(contentLength: json.readableBytes) { writer in
            guard await connection.hasClient else { throw ChannelError.alreadyClosed }
            try await writer.write(json)
            try await writer.finish(nil)
            delivery.delivered()
        }
        return Response(
            status: .ok,
            headers: [.contentType: "application/json; charset=utf-8", .cacheControl: "no-store"], body: body)
    }
}

/// A claim: `{worker, lease_seconds}`.
struct ClaimBody: Decodable {
    let worker: String
    let lease: Duration

    private enum CodingKeys: String, CodingKey {
        case worker
        case leaseSeconds = "lease_seconds"
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        worker = try container.decode(String.self, forKey: .worker)
        guard (1...100).contains(worker.count), !worker.utf8.contains(0) else {
            throw Problem.invalid("worker", "needs 1 to 100 characters, and no NUL character.")
        }
        lease = try Duration(leaseSeconds: try container.decode(Double.self, forKey: .leaseSeconds))
    }
}

/// The JSON of a claim.
private struct ClaimAnswer: Encodable {
    private let claim: AccountClaim

    init(_ claim: AccountClaim) { self.claim = claim }

    private enum CodingKeys: String, CodingKey {
        case attempt, status, lease, recording
        case sessionID = "session_id"
        case leasedUntil = "leased_until"
    }

    private enum RecordingKeys: String, CodingKey {
        case filename, bytes
        case mediaType = "media_type"
        case durationSeconds = "duration_seconds"
    }

    /// Encodes every member; a missing value is null.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(claim.session, forKey: .sessionID)
        try container.encode(claim.attempt, forKey: .attempt)
        try container.encode(claim.status, forKey: .status)
        try container.encode(claim.lease.text, forKey: .lease)
        try container.encode(claim.leasedUntil, forKey: .leasedUntil)
        var recording = container.nestedContainer(keyedBy: RecordingKeys.self, forKey: .recording)
        try recording.encode(claim.filename, forKey: .filename)
        try recording.encode(claim.bytes, forKey: .bytes)
        try recording.encode(claim.mediaType, forKey: .mediaType)
        try recording.encode(claim.duration, forKey: .durationSeconds)
    }
}
