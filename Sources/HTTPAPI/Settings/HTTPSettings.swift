public import Domain
public import FoundationEssentials
public import SettingsReading
import TextForms

/// The settings of the HTTP side of the server.
public struct HTTPSettings: Sendable {
    /// Where the servers listen.
    public let listen: ListenSettings
    /// The URL by which browsers reach the server.
    ///
    /// It decides the cookies' Secure attribute and the server's own origin.
    public let publicURL: URL
    /// Other origins whose pages may call with credentials.
    public let allowedOrigins: Set<String>
    /// The proxies whose `X-Forwarded-For` the server believes.
    public let trustedProxies: AddressRanges
    /// How slow clients may be, and how many connections there may be.
    public let requests: RequestSettings
    /// How long a sign-in lasts, and how many attempts may fail.
    public let signIn: SignInSettings
    /// How streams behave, and how many there may be.
    public let streams: StreamSettings
    /// How much may be uploaded.
    public let uploads: UploadSettings

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let own = reader.group("HTTP")
        listen = try ListenSettings(own)
        publicURL = try own.value(
            "PUBLIC_URL", form: "an http or https URL, such as https://bridge.example.org", default: listen.url,
            shownAs: "`http://HOST:PORT`",
            "How browsers reach the server. Cookies are Secure unless this is http on loopback.", Self.webURL)
        allowedOrigins = try own.value(
            "SSE_CORS_ORIGIN", form: "none, or a comma-separated list of origins, such as https://example.org",
            default: "https://therapybridge.com",
            """
            The other origins whose pages may call the API, with a cookie or a bearer token. Without its origin here, a page gets \
            no answer from its browser; see [CORS](http-api.md#cors-and-browser-headers).
            """, Self.origins)
        trustedProxies = try own.value(
            "TRUSTED_PROXIES",
            form: "none, or a comma-separated list of addresses and ranges, such as 10.0.0.0/8, ::1",
            default: "127.0.0.0/8, ::1", "The proxies whose `X-Forwarded-For` the server believes."
        ) { AddressRanges($0 == "none" ? "" : $0) }
        requests = try RequestSettings(own)
        signIn = try SignInSettings(reader)
        streams = try StreamSettings(reader)
        uploads = try UploadSettings(reader)
    }

    /// Reads an http or https URL that has an origin.
    private static func webURL(_ text: String) -> URL? {
        guard let url = URL(string: text), ["http", "https"].contains(url.scheme), origin(of: url) != nil else {
            return nil
        }
        return url
    }

    /// Reads a comma-separated list of origins, or `none`; nil if a part is not an origin.
    private static func origins(_ text: String) -> Set<String>? {
        if text == "none" { return [] }
        var origins: Set<String> = []
        for part in text.split(separator: ",") {
            guard let url = webURL(part.trimmed), let origin = origin(of: url),
                url.path().isEmpty || url.path() == "/"
            else { return nil }
            origins.insert(origin)
        }
        return origins
    }

    /// True if cookies may travel over TLS only.
    ///
    /// That is always the case, unless browsers reach the server by http on loopback.
    var cookiesAreSecure: Bool {
        !(publicURL.scheme == "http" && isOnLoopback)
    }

    /// True if only browsers on this machine reach the server.
    private var isOnLoopback: Bool { Self.loopbackHosts.contains(publicURL.host() ?? "") }

    /// True if passwords and tokens cross a network without TLS.
    ///
    /// That is the case if browsers use http, and the server is reachable from other machines, by its URL or its address.
    package var isPlainOnNetwork: Bool { publicURL.scheme == "http" && !(isOnLoopback && listen.isOnLoopback) }

    private static let loopbackHosts = ["localhost", "127.0.0.1", "[::1]", "::1"]

    /// True if browsers reach the server over TLS, which ends at a proxy in front.
    var isReachedByTLS: Bool { publicURL.scheme == "https" }

    /// The origin of ``publicURL`` (RFC 6454, 6.1): scheme, host, and the port unless it is the scheme's default.
    var ownOrigin: String { Self.origin(of: publicURL) ?? "" }

    /// True if a page of `origin` may act with its user's cookies.
    func allows(origin: String) -> Bool {
        origin == ownOrigin || allowedOrigins.contains(origin)
    }

    /// True if an origin is this server's under another name of loopback, such as `localhost` for `127.0.0.1`.
    ///
    /// A developer may open either address and expects the same page. The origin has to equal the address of the
    /// request. The page of another program on this machine therefore does not count.
    ///
    /// - Parameters:
    ///   - origin: The `Origin` of the request.
    ///   - authority: Its `Host`.
    /// - Returns: True if the origin is an alias.
    func isLoopbackAlias(origin: String, authority: String?) -> Bool {
        guard isOnLoopback, let scheme = publicURL.scheme, let authority = authority?.lowercased(),
            origin == "\(scheme)://\(authority)"
        else { return false }
        let port = publicURL.port.map { ":\($0)" } ?? ""
        return Self.loopbackHosts.contains { authority == $0 + port }
    }

    /// The origin of a URL; nil if it has none.
    public static func origin(of url: URL) -> String? {
        guard let scheme = url.scheme?.lowercased(), let host = url.host()?.lowercased(), !host.isEmpty else {
            return nil
        }
        let ownPort = ["http": 80, "https": 443][scheme]
        guard let port = url.port, port != ownPort else { return "\(scheme)://\(host)" }
        return "\(scheme)://\(host):\(port)"
    }
}
