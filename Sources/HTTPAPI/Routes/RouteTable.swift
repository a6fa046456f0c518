import HTTPTypes
import Hummingbird

/// The routes of the server, gathered before they go into the router.
///
/// The router answers 404 but not 405, and would run a GET for a HEAD. The table knows all methods of a path. It
/// answers a wrong method with the right ones, and answers HEAD with the same head without opening a stream.
struct RouteTable {
    /// One route.
    struct Route: Sendable {
        let method: HTTPRequest.Method
        let path: RouterPath

        /// The route as the documentation writes it: `GET /api/sessions/{id}`.
        var description: String { "\(method.rawValue) \(path.description.replacing(/:(\w+)/) { "{\($0.output.1)}" })" }
    }

    private(set) var routes: [Route] = []
    private let router: Router<AppContext>
    private let users: any AppMiddleware
    private let tickets: any AppMiddleware

    typealias AppMiddleware = MiddlewareProtocol<Request, Response, AppContext>

    /// Gathers routes for a router.
    ///
    /// - Parameters:
    ///   - router: Gets the routes.
    ///   - userLoader: Runs in front of routes that need a user.
    ///   - ticketReader: Runs in front of streams.
    init(
        router: Router<AppContext>, userLoader: any AppMiddleware, ticketReader: any AppMiddleware
    ) {
        self.router = router
        users = userLoader
        tickets = ticketReader
    }

    /// A route that needs no credential.
    ///
    /// A route without a body, which answers 204, produces nil: the server then ignores `Accept`.
    mutating func unauthenticated(
        _ method: HTTPRequest.Method, _ path: RouterPath, produces: String? = "application/json",
        _ handler: @escaping @Sendable (Request, AppContext) async throws -> Response
    ) {
        add(method, path) { router, method, finish in
            router.on(path, method: method) { request, context in
                try Self.checkAccept(of: request, against: produces)
                return finish(try await handler(request, context))
            }
        }
    }

    /// A route that needs a valid token.
    ///
    /// Its handler asks the database about the account.
    mutating func token(
        _ method: HTTPRequest.Method, _ path: RouterPath, produces: String? = "application/json",
        _ handler: @escaping @Sendable (Request, TokenContext) async throws -> Response
    ) {
        add(method, path) { router, method, finish in
            router.group(context: TokenContext.self).on(path, method: method) { request, context in
                try Self.checkAccept(of: request, against: produces)
                return finish(try await handler(request, context))
            }
        }
    }

    /// A route that begins a stream.
    ///
    /// It needs a valid token, like ``token(_:_:produces:_:)``, or a ticket in the URL.
    ///
    /// It checks `Accept` first: a stream that cannot begin must not spend a ticket.
    mutating func stream(
        _ path: RouterPath, produces: String = "text/event-stream",
        _ handler: @escaping @Sendable (Request, TokenContext) async throws -> Response
    ) {
        add(.get, path) { [tickets] router, method, finish in
            router.group().add(middleware: AcceptCheck(mediaType: produces)).add(middleware: tickets)
                .group(context: TokenContext.self)
                .on(path, method: method) { request, context in finish(try await handler(request, context)) }
        }
    }

    /// A route that needs an active, signed-in user.
    mutating func user(
        _ method: HTTPRequest.Method, _ path: RouterPath, produces: String? = "application/json",
        _ handler: @escaping @Sendable (Request, UserContext) async throws -> Response
    ) {
        add(method, path) { [users] router, method, finish in
            router.group().add(middleware: users).group(context: UserContext.self)
                .on(path, method: method) { request, context in
                    try Self.checkAccept(of: request, against: produces)
                    return finish(try await handler(request, context))
                }
        }
    }

    /// All methods that the decoder accepts, except CONNECT, which has no path.
    private static let methods: [HTTPRequest.Method] = {
        let others = [
            "ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
            "MOVE", "MSEARCH", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE",
            "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
        ]
        return [.get, .head, .post, .put, .patch, .delete, .options, .trace] + others.compactMap { .init($0) }
    }()

    /// Answers every other method of each path with 405.
    func finish() {
        for (path, taken) in Dictionary(grouping: routes, by: \.path.description) {
            var allowed = Set(taken.map(\.method))
            if allowed.contains(.get) { allowed.insert(.head) }
            let allow = allowed.map(\.rawValue).sorted().joined(separator: ", ")
            for method in Self.methods where !allowed.contains(method) {
                router.on(taken[0].path, method: method) { _, _ -> Response in
                    var problem = Problem(.methodNotAllowed, "\(path) accepts \(allow).")
                    problem.headers[.allow] = allow
                    throw problem
                }
            }
        }
    }

    private mutating func add(
        _ method: HTTPRequest.Method, _ path: RouterPath,
        _ register: (Router<AppContext>, HTTPRequest.Method, @escaping @Sendable (Response) -> Response) -> Void
    ) {
        routes.append(Route(method: method, path: path))
        register(router, method) { $0 }
        if method == .get { register(router, .head) { $0.createHeadResponse() } }
    }

    /// Checks that a client accepts a media type; nil for an answer without a body, which every client accepts.
    ///
    /// RFC 9110, 12.5.1: a media range may be `*/*`, `type/*` or a type, with a weight of which 0 means "not
    /// acceptable"; "the most specific reference has precedence".
    ///
    /// The type of errors does not count. Generated clients send the first JSON type of the description, which is that
    /// of the errors where the answer is no JSON.
    ///
    /// - Throws: 406 if the client does not accept it.
    static func checkAccept(of request: Request, against mediaType: String?) throws {
        guard let mediaType, let accept = request.headers[.accept] else { return }
        let ranges = accept.split(separator: ",").map { HeaderParameters(String($0)) }
            .filter { !$0.value.isEmpty && $0.value != Problem.mediaType }
        if ranges.isEmpty { return }
        let type = mediaType.prefix { $0 != "/" }
        let decisive = [mediaType, "\(type)/*", "*/*"].lazy
            .compactMap { value in ranges.first { $0.value == value } }.first
        // A route that produces `*/*` has more than one type: every range of the client fits it.
        let isMet = decisive.map { ($0["q"].flatMap { Double($0) } ?? 1) > 0 } ?? (mediaType == "*/*")
        guard isMet else { throw Problem(.notAcceptable, "This route answers with \(mediaType).") }
    }
}

/// Refuses clients that do not accept the answer's media type, before the next middleware runs.
private struct AcceptCheck: RouterMiddleware {
    let mediaType: String

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        try RouteTable.checkAccept(of: request, against: mediaType)
        return try await next(request, context)
    }
}
