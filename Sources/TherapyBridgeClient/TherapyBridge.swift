import AsyncHTTPClient
import NIOCore
import NIOFoundationEssentialsCompat
import NIOHTTP1

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// A client of a TherapyBridge server.
///
/// ```swift
/// try await TherapyBridge.withClient(of: "https://bridge.example.org") { bridge in
///     try await bridge.signIn(email: "t@example.org", password: password)
///     for try await progress in bridge.progress(of: session) {
///         print(progress.status.rawValue, progress.progress)
///     }
/// }
/// ```
public struct TherapyBridge: Sendable {
    /// Settings of a client.
    public struct Options: Sendable {
        /// The silence after which a connection counts as lost.
        ///
        /// The server sends a heartbeat every 15 s.
        public var watchdog = Duration.seconds(25)
        /// The delay before the first reconnect, until the server names its own.
        public var retry = Duration.seconds(2)
        /// The delay between two polls.
        public var pollInterval = Duration.seconds(2)
        /// Measures the pauses, and the silence of a connection.
        ///
        /// A test gives a clock that it moves by hand.
        public var clock: any Clock<Duration> = ContinuousClock()
        /// Called with the tokens of each sign-in and refresh, and with nil after a sign-out.
        ///
        /// Keep them in the keychain.
        public var onTokens: @Sendable (TokenPair?) -> Void = { _ in }

        /// The defaults.
        public init() {}
    }

    let options: Options
    let credentials: Credentials
    private let http: HTTPClient
    private let baseURL: String

    private init(_ baseURL: String, tokens: TokenPair?, options: Options) {
        self.baseURL = baseURL.hasSuffix("/") ? String(baseURL.dropLast()) : baseURL
        self.options = options
        credentials = Credentials(tokens, onChange: options.onTokens)
        var configuration = HTTPClient.Configuration()
        // Our own watchdog ends a silent connection, by the clock of the options.
        configuration.timeout = .init(connect: .seconds(10))
        // Each stream has a connection. By default, the ninth to one host would wait for ever.
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 10_000
        // The back-off is ours, because the server asks for it.
        configuration.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
    }

    /// Lends a client, and closes its connections afterwards.
    ///
    /// - Parameters:
    ///   - baseURL: The server, such as `https://bridge.example.org`.
    ///   - tokens: The tokens of an earlier sign-in, or nil.
    ///   - options: The settings.
    ///   - isolation: The actor of the caller, on which `body` runs.
    ///   - body: Uses the client.
    /// - Returns: What `body` returns.
    /// - Throws: The errors of `body`.
    public static func withClient<Result>(
        of baseURL: String, tokens: TokenPair? = nil, options: Options = Options(),
        isolation: isolated (any Actor)? = #isolation, _ body: (TherapyBridge) async throws -> Result
    ) async throws -> Result {
        let client = TherapyBridge(baseURL, tokens: tokens, options: options)
        do {
            let result = try await body(client)
            try await client.http.shutdown()
            return result
        } catch {
            // The error of the body is the one that matters. Without the shutdown, the connections would stay open.
            try? await client.http.shutdown()
            throw error
        }
    }

    // MARK: Routes

    /// Signs in, and keeps the tokens.
    ///
    /// - Parameters:
    ///   - email: The address of the account.
    ///   - password: Its password.
    /// - Returns: The account.
    /// - Throws: ``APIError``
    @discardableResult
    public func signIn(email: String, password: String) async throws -> Account {
        struct Answer: Decodable { let user: Account }
        let body = try JSONEncoder().encode(["email": email, "password": password])
        let answer = try await send(.POST, "/api/auth/login", body: .json(body), isAnonymous: true).checked()
        await credentials.set(try answer.decoded(TokenPair.self))
        return try answer.decoded(Answer.self).user
    }

    /// Ends the sign-in.
    ///
    /// - Throws: ``APIError``
    public func signOut() async throws {
        _ = try await send(.POST, "/api/auth/logout").checked()
        await credentials.set(nil)
    }

    /// The account of the sign-in.
    ///
    /// - Returns: The account.
    /// - Throws: ``APIError``
    public func me() async throws -> Account { try await request("GET", "/api/auth/me", as: Account.self) }

    /// Reads one session.
    ///
    /// - Parameter id: The session's id.
    /// - Returns: The session.
    /// - Throws: ``APIError``
    public func session(_ id: String) async throws -> TherapySession {
        try await request("GET", "/api/sessions/\(id)", as: TherapySession.self)
    }

    /// Sends a request to any route, and again after a refresh of the tokens if the server answers 401.
    ///
    /// - Parameters:
    ///   - method: Such as `GET`.
    ///   - path: Such as `/api/sessions?limit=10`.
    ///   - headers: Such as `If-Match`.
    ///   - json: The body, or nil.
    ///   - type: The type of the answer.
    /// - Returns: The answer.
    /// - Throws: ``APIError`` for a status above 299; the decoder's error for another answer than expected.
    public func request<Answer: Decodable>(
        _ method: String, _ path: String, headers: [String: String] = [:], json: Data? = nil, as type: Answer.Type
    ) async throws -> Answer {
        try JSONDecoder().decode(type, from: try await request(method, path, headers: headers, json: json).body)
    }

    /// Sends a request to any route, for the headers of the answer, for a body that is not JSON, or if there is none.
    ///
    /// - Parameters:
    ///   - method: Such as `DELETE`.
    ///   - path: Such as `/api/sessions/ID`.
    ///   - headers: Such as `If-Match`.
    ///   - json: The body, or nil.
    /// - Returns: The answer.
    /// - Throws: ``APIError`` for a status above 299.
    @discardableResult
    public func request(
        _ method: String, _ path: String, headers: [String: String] = [:], json: Data? = nil
    ) async throws -> Reply {
        let answer = try await authorised(
            HTTPMethod(rawValue: method), path, headers: headers.map { ($0, $1) }, body: json.map(Body.json)
        ).checked()
        return Reply(
            status: Int(answer.response.status.code), headers: answer.response.headers.map { ($0.name, $0.value) },
            body: answer.body)
    }

    // MARK: Requests

    enum Body {
        case json(Data)
        case bytes(ByteBuffer)
    }

    /// An answer that has come to its end.
    struct Answer: Sendable {
        let response: HTTPClientResponse
        let body: Data

        /// - Throws: ``APIError`` for a status above 299.
        func checked() throws -> Answer {
            guard (200..<300).contains(response.status.code) else { throw APIError(response, body: body) }
            return self
        }

        func decoded<Value: Decodable>(_ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(type, from: body)
        }
    }

    /// Begins a request.
    ///
    /// - Throws: ``APIError`` of status 0 if no answer came; `CancellationError`.
    func open(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: Body? = nil,
        isAnonymous: Bool = false
    ) async throws -> HTTPClientResponse {
        // The path of an upload comes from the server, and may be a URL.
        var request = HTTPClientRequest(url: path.hasPrefix("http") ? path : baseURL + path)
        request.method = method
        request.headers.add(contentsOf: headers)
        if request.headers["Accept"].isEmpty {
            request.headers.add(name: "Accept", value: "application/json, application/problem+json")
        }
        if !isAnonymous, let token = await credentials.access {
            request.headers.add(name: "Authorization", value: "Bearer \(token)")
        }
        switch body {
        case .json(let data):
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: data))
        case .bytes(let buffer): request.body = .bytes(buffer)
        case nil: break
        }
        // A large body takes its time. A network slower than 16 kB a second counts as frozen.
        var limit = options.watchdog
        if case .bytes(let buffer) = body { limit += .seconds(1) * (Double(buffer.readableBytes) / 16_000) }
        do {
            return try await watched(limit: limit) { [http, request] in
                try await http.execute(request, deadline: .distantFuture)
            }
        } catch {
            try Task.checkCancellation()
            throw APIError.unreachable
        }
    }

    /// Connects by a WebSocket.
    ///
    /// - Throws: ``APIError`` of status 0 if no answer came; `CancellationError`.
    func openSocket(_ path: String) async throws -> SocketLine.Answer {
        guard let url = URL(string: baseURL), let host = url.host(percentEncoded: false) else {
            throw APIError(status: 400, detail: "The URL of the server has no host.")
        }
        let isSecure = url.scheme == "https"
        let address = SocketLine.Address(host: host, port: url.port ?? (isSecure ? 443 : 80), isSecure: isSecure)
        // An IPv6 address needs its brackets.
        let name = host.contains(":") ? "[\(host)]" : host
        var headers = HTTPHeaders([("Host", url.port.map { "\(name):\($0)" } ?? name)])
        if let token = await credentials.access { headers.add(name: "Authorization", value: "Bearer \(token)") }
        let prefix = url.path(percentEncoded: true)
        let target = (prefix == "/" ? "" : prefix) + path
        do {
            return try await watched { [headers] in
                try await SocketLine.open(address, target: target, headers: headers)
            }
        } catch {
            try Task.checkCancellation()
            throw APIError.unreachable
        }
    }

    /// One request, as it is.
    func send(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: Body? = nil,
        isAnonymous: Bool = false
    ) async throws -> Answer {
        let response = try await open(method, path, headers: headers, body: body, isAnonymous: isAnonymous)
        do {
            let bytes = try await watched { try await response.body.collect(upTo: 64 * 1024 * 1024) }
            return Answer(response: response, body: Data(buffer: bytes))
        } catch {
            try Task.checkCancellation()
            throw APIError.unreachable
        }
    }

    /// One request, and again after a refresh if the server answers 401.
    func authorised(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: Body? = nil
    ) async throws -> Answer {
        let used = await credentials.access
        let answer = try await send(method, path, headers: headers, body: body)
        guard answer.response.status == .unauthorized, try await refresh(since: used) == nil else { return answer }
        return try await send(method, path, headers: headers, body: body)
    }

    /// Gets new tokens, unless that has happened since `used` was sent.
    ///
    /// - Returns: Nil if the tokens are new, or why there are none.
    /// - Throws: ``APIError`` if no answer came, or a temporary one.
    func refresh(since used: String?) async throws -> EndReason? {
        try await credentials.refresh(since: used) { token in
            let body = try JSONEncoder().encode(["refresh_token": token])
            let answer = try await send(.POST, "/api/auth/refresh", body: .json(body), isAnonymous: true)
            if answer.response.status == .ok { return .tokens(try answer.decoded(TokenPair.self)) }
            let error = APIError(answer.response, body: answer.body)
            if error.isTemporary { throw error }
            return .refused(error.isOfInactiveAccount ? .accountInactive : .signedOut)
        }
    }

    /// The URL of an upload, which must be of this server: the token goes there.
    func location(_ text: String) throws -> String {
        guard let base = URL(string: baseURL), let url = URL(string: text, relativeTo: base)?.absoluteURL,
            url.host() == base.host(), url.port == base.port
        else { throw APIError(status: 0, detail: "The upload is on another host.") }
        return url.absoluteString
    }
}
