public import Foundation
public import Store

/// What the HTTP side of the server is set to.
public struct HTTPSettings: Sendable {
    /// How browsers reach the server (`PUBLIC_URL`): decides the cookies' Secure attribute and what "this server's origin" is.
    public var publicURL: URL
    /// Other origins that may call with credentials (`SSE_CORS_ORIGIN`).
    public var allowedOrigins: Set<String>
    /// How long an access token is valid (`JWT_ACCESS_TTL`).
    public var accessLifetime: Duration
    /// How many failed attempts to sign in there may be.
    public var signInLimits: SignInLimits
    /// Whose word counts on where a request comes from (`TRUSTED_PROXIES`).
    public var trustedProxies: AddressRanges
    /// How long a sign-in can be refreshed (`JWT_REFRESH_TTL`).
    public var refreshLifetime: Duration
    /// How long a stream may be silent before a heartbeat (`SSE_HEARTBEAT_INTERVAL`).
    public var heartbeatInterval: Duration
    /// How long a stream lives, give or take 10 % (`SSE_MAX_LIFETIME`).
    public var maximumStreamLifetime: Duration
    /// The time between two looks of the fallback poll (`SSE_UPDATE_INTERVAL`).
    public var updateInterval: Duration
    /// How long streams are given to end when the server stops.
    public var drainTimeout: Duration
    /// How many streams there may be (`SSE_MAX_STREAMS`), and of one user (`SSE_MAX_STREAMS_PER_USER`).
    public var maximumStreams: Int
    public var maximumStreamsPerUser: Int
    /// The largest recording in bytes (`UPLOAD_MAX_BYTES`).
    public var maximumUploadBytes: Int
    /// How much one user may upload.
    public var uploadLimits: UploadLimits
    /// How long the head of a request may take (`HTTP_HEAD_TIMEOUT`).
    public var headTimeout: Duration
    /// How long a body may stand still (`HTTP_BODY_TIMEOUT`).
    public var bodyTimeout: Duration
    /// How many connections there may be besides the streams (`HTTP_MAX_CONNECTIONS`).
    public var maximumConnections: Int

    public init(
        publicURL: URL, allowedOrigins: Set<String>, signInLimits: SignInLimits, trustedProxies: AddressRanges,
        accessLifetime: Duration, refreshLifetime: Duration,
        heartbeatInterval: Duration, maximumStreamLifetime: Duration, updateInterval: Duration,
        drainTimeout: Duration, maximumStreams: Int, maximumStreamsPerUser: Int,
        maximumUploadBytes: Int, uploadLimits: UploadLimits, headTimeout: Duration, bodyTimeout: Duration,
        maximumConnections: Int
    ) {
        self.publicURL = publicURL
        self.allowedOrigins = allowedOrigins
        self.signInLimits = signInLimits
        self.trustedProxies = trustedProxies
        self.accessLifetime = accessLifetime
        self.refreshLifetime = refreshLifetime
        self.heartbeatInterval = heartbeatInterval
        self.maximumStreamLifetime = maximumStreamLifetime
        self.updateInterval = updateInterval
        self.drainTimeout = drainTimeout
        self.maximumStreams = maximumStreams
        self.maximumStreamsPerUser = maximumStreamsPerUser
        self.maximumUploadBytes = maximumUploadBytes
        self.uploadLimits = uploadLimits
        self.headTimeout = headTimeout
        self.bodyTimeout = bodyTimeout
        self.maximumConnections = maximumConnections
    }

    /// Whether cookies are to travel over TLS alone: always, unless the server is reached over http on loopback.
    var cookiesAreSecure: Bool {
        !(publicURL.scheme == "http" && isOnLoopback)
    }

    /// Whether browsers reach the server on its own machine alone.
    private var isOnLoopback: Bool { Self.loopbackHosts.contains(publicURL.host() ?? "") }

    private static let loopbackHosts = ["localhost", "127.0.0.1", "[::1]", "::1"]

    /// Whether browsers reach the server over TLS, which ends at a proxy in front.
    var isReachedByTLS: Bool { publicURL.scheme == "https" }

    /// The origin of ``publicURL`` (RFC 6454, 6.1): scheme, host, and the port unless it is the scheme's own.
    var ownOrigin: String { Self.origin(of: publicURL) ?? "" }

    /// Whether a page of `origin` may act with its user's cookies.
    func allows(origin: String) -> Bool {
        origin == ownOrigin || allowedOrigins.contains(origin)
    }

    /// Whether an origin is this server's under another of loopback's names: `localhost` instead of `127.0.0.1`, say.
    ///
    /// A developer opens either address and expects the same page. The origin has to be the address of the request itself, so
    /// that a page of another program on this machine does not pass for ours.
    ///
    /// - Parameters:
    ///   - origin: The `Origin` of the request.
    ///   - authority: Its `Host`.
    func isLoopbackAlias(origin: String, authority: String?) -> Bool {
        guard isOnLoopback, let scheme = publicURL.scheme, let authority = authority?.lowercased(),
            origin == "\(scheme)://\(authority)"
        else { return false }
        let port = publicURL.port.map { ":\($0)" } ?? ""
        return Self.loopbackHosts.contains { authority == $0 + port }
    }

    /// The origin of a URL; nil when it has none.
    public static func origin(of url: URL) -> String? {
        guard let scheme = url.scheme?.lowercased(), let host = url.host()?.lowercased(), !host.isEmpty else {
            return nil
        }
        let ownPort = ["http": 80, "https": 443][scheme]
        guard let port = url.port, port != ownPort else { return "\(scheme)://\(host)" }
        return "\(scheme)://\(host):\(port)"
    }
}
