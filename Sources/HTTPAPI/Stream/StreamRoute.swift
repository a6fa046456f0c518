import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Postgres
import Progress
import Store
import Streaming

/// `GET /api/sessions/{id}/status/stream`: one session's progress as Server-Sent Events.
struct StreamRoute: Sendable {
    let gate: SessionGate
    let progress: ProgressStore
    let hub: ProgressHub
    let admission: StreamAdmission
    let settings: HTTPSettings

    func add(to table: inout RouteTable) {
        table.token(.get, "/api/sessions/:id/status/stream", produces: "text/event-stream", open)
    }

    @Sendable private func open(_ request: Request, _ context: TokenContext) async throws -> Response {
        let session = try context.sessionID()
        // Watched before its state is read: a change between the two would otherwise reach nobody.
        let subscription = hub.subscribe(to: session)
        let opened: SessionGate.Opened
        let replay: [StatusTransition]
        do {
            opened = try await gate.open(session, for: context.claims, to: .see)
            let resumption = Resumption(
                lastEventID: lastEventID(of: request), presentVersion: opened.progress.version)
            if case .after(let version) = resumption {
                if opened.progress.status.isFinished, version == opened.progress.version {
                    // The only answer that stops a native EventSource without an error.
                    return Response(status: .noContent, headers: [.cacheControl: "no-store"])
                }
                replay = try await progress.transitions(of: session, after: version)
            } else {
                replay = []
            }
        } catch let error as PostgresError where error.isTransient {
            // Any status but 200 would stop a native EventSource for good.
            return unavailable(context, reason: "\(error)")
        }
        subscription.begin(at: opened.progress.version)
        guard let place = admission.admit(context.claims.user) else {
            return unavailable(context, reason: "too many streams")
        }
        let stream = EventStream(
            subscription: subscription, claims: context.claims, gate: gate, progress: progress, settings: settings,
            logger: context.logger)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                try await withStreamEndingAtClose(of: request, writer: writer) { writer in
                    try await stream.run(from: opened, replay: replay, writer: &writer)
                }
                withExtendedLifetime(place) {}
            })
    }

    private var headers: HTTPFields {
        [
            .contentType: "text/event-stream", .cacheControl: "no-cache, no-transform", .accelBuffering: "no",
            .connection: "close",
        ]
    }

    /// A stream that says that it cannot be served now, and ends: the client comes back by itself.
    private func unavailable(_ context: TokenContext, reason: String) -> Response {
        context.logger.warning("stream turned away", metadata: ["reason": "\(reason)"])
        let bytes = ServerSentEvent.retry(jitteredRetry()) + ServerSentEvent.unavailable
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                try await writer.write(ByteBuffer(bytes: bytes))
                try await writer.finish(nil)
            })
    }

    /// Where the client left off: the header wins, since a native EventSource sends it by itself.
    private func lastEventID(of request: Request) -> String? {
        request.headers[.lastEventID] ?? request.uri.queryParameters["last_event_id"].map(String.init)
    }
}

/// A time to come back in, spread so that all whose streams end together do not come back together.
func jitteredRetry() -> Duration { .milliseconds(Int.random(in: 500...5000)) }

/// Runs the body of a stream until it is done or the client has gone.
private func withStreamEndingAtClose(
    of request: Request, writer: any ResponseBodyWriter,
    _ body: @escaping @Sendable (inout any ResponseBodyWriter) async throws -> Void
) async throws {
    var writer = writer
    do {
        try await request.body.consumeWithCancellationOnInboundClose { _ in try await body(&writer) }
        try await writer.finish(nil)
    } catch is CancellationError {
        // The client has gone, and with it whoever would read an end.
    }
}
