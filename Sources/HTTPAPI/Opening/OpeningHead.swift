import Domain
import Streaming

/// The head of a request for the stream of one session, read without the framework.
///
/// It reads only the form that clients of streams send: HTTP/1.1, no body, one credential, and headers that it knows. The
/// framework reads every other request, and every head that could mean two things. What this type reads means the same to
/// the framework.
struct OpeningHead: Equatable {
    /// The session in the path.
    let session: SessionID
    /// The access token, from `Authorization` or else from the cookie.
    let token: [UInt8]
    /// The version in `Last-Event-ID`; nil if there is none.
    let version: Int64?
    /// The values of `X-Forwarded-For`, in their order.
    let forwardedFor: [ArraySlice<UInt8>]

    /// Reads a whole head with its empty line at the end; nil for a request that is the framework's.
    ///
    /// - Parameter bytes: Everything that the client has sent.
    init?(_ bytes: [UInt8]) {
        var lines = HeadLines(bytes)
        guard let first = lines.next(), let session = Self.session(inRequest: bytes[first]) else { return nil }
        var fields = HeadFields()
        while let line = lines.next(), !line.isEmpty {
            guard fields.take(bytes[line]) else { return nil }
        }
        // A further byte belongs to a body or to another request.
        guard lines.areComplete, fields.hasHost, let token = fields.bearer ?? fields.cookie else { return nil }
        self.session = session
        self.token = Array(token)
        version = fields.lastEventID.flatMap(Resumption.version(utf8:))
        forwardedFor = fields.forwardedFor
    }

    private static let beforeSession = Array("GET /api/sessions/".utf8)
    private static let afterSession = Array("/status/stream HTTP/1.1".utf8)

    private static func session(inRequest line: ArraySlice<UInt8>) -> SessionID? {
        guard line.starts(with: beforeSession) else { return nil }
        let rest = line.dropFirst(beforeSession.count)
        guard rest.dropFirst(36).elementsEqual(afterSession) else { return nil }
        return SessionID(utf8: rest.prefix(36))
    }
}

/// The lines of a head, each of which ends with CR and LF.
private struct HeadLines {
    private let bytes: [UInt8]
    private var position = 0
    /// True if the last line was empty, and nothing follows it.
    private(set) var areComplete = false

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The next line without its end; nil if no whole line follows.
    mutating func next() -> Range<Int>? {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\r")), end + 1 < bytes.count,
            bytes[end + 1] == UInt8(ascii: "\n")
        else { return nil }
        let line = position..<end
        position = end + 2
        areComplete = line.isEmpty && position == bytes.count
        return line
    }
}

/// The headers of a request for a stream, as far as they decide anything.
private struct HeadFields {
    /// What the server does with a header.
    private enum Field {
        case host, authorization, cookie, accept, lastEventID, connection, forwardedFor
        /// Nothing.
        case ignored
    }

    private(set) var hasHost = false
    /// The token of `Authorization`.
    private(set) var bearer: ArraySlice<UInt8>?
    /// The token of the cookie.
    private(set) var cookie: ArraySlice<UInt8>?
    private(set) var lastEventID: ArraySlice<UInt8>?
    private(set) var forwardedFor: [ArraySlice<UInt8>] = []
    private var hasCookies = false
    private var hasAccept = false
    private var hasConnection = false

    private static let fields =
        [
            named("host", .host), named("authorization", .authorization), named("cookie", .cookie),
            named("accept", .accept), named("last-event-id", .lastEventID), named("connection", .connection),
            named("x-forwarded-for", .forwardedFor),
        ] + ignored

    private static let ignored = [
        "accept-encoding", "accept-language", "cache-control", "dnt", "forwarded", "pragma", "priority", "referer",
        "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site",
        "sec-fetch-user", "sec-gpc", "traceparent", "tracestate", "user-agent", "via", "x-forwarded-host",
        "x-forwarded-port", "x-forwarded-proto", "x-real-ip", "x-request-id",
    ].map { named($0, .ignored) }

    private static func named(_ name: String, _ field: Field) -> (name: [UInt8], field: Field) {
        (Array(name.utf8), field)
    }

    /// Reads one line.
    ///
    /// - Returns: False if the request is the framework's.
    mutating func take(_ line: ArraySlice<UInt8>) -> Bool {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), let field = Self.field(line[..<colon]) else {
            return false
        }
        // RFC 9110, 5.5: visible characters, with spaces and tabs between them. The framework decides about others.
        let value = line[(colon + 1)...].drop(while: isBlank)
        guard value.allSatisfy({ isBlank($0) || (0x21...0x7E).contains($0) }) else { return false }
        let end = value.lastIndex { !isBlank($0) }.map { $0 + 1 } ?? value.startIndex
        return take(value[..<end], of: field)
    }

    private mutating func take(_ value: ArraySlice<UInt8>, of field: Field) -> Bool {
        switch field {
        case .host:
            defer { hasHost = true }
            return !hasHost && !value.isEmpty && value.allSatisfy { isLetterOrDigit($0) || ".-_:[]".utf8.contains($0) }
        case .authorization:
            let scheme = value.prefix(7)
            guard bearer == nil, Self.isSame(scheme, "bearer ".utf8), Self.isToken(value.dropFirst(7)) else {
                return false
            }
            bearer = value.dropFirst(7)
            return true
        case .cookie:
            defer { hasCookies = true }
            return !hasCookies && takeCookies(value)
        case .accept:
            defer { hasAccept = true }
            return !hasAccept && (value.elementsEqual("text/event-stream".utf8) || value.elementsEqual("*/*".utf8))
        case .lastEventID:
            // An Int64 has room for eighteen digits.
            guard lastEventID == nil, (1...18).contains(value.count), value.allSatisfy(isDigit) else { return false }
            lastEventID = value
            return true
        case .connection:
            defer { hasConnection = true }
            return !hasConnection && (Self.isSame(value, "keep-alive".utf8) || Self.isSame(value, "close".utf8))
        case .forwardedFor:
            forwardedFor.append(value)
            return true
        case .ignored: return true
        }
    }

    /// Finds the access token among the cookies; false if it is there twice, or not a token.
    private mutating func takeCookies(_ value: ArraySlice<UInt8>) -> Bool {
        for pair in value.split(separator: UInt8(ascii: ";")) {
            let pair = pair.drop(while: isBlank)
            guard let equals = pair.firstIndex(of: UInt8(ascii: "=")),
                pair[..<equals].elementsEqual(SignInCookies.accessName.utf8)
            else { continue }
            guard cookie == nil, Self.isToken(pair[(equals + 1)...]) else { return false }
            cookie = pair[(equals + 1)...]
        }
        return true
    }

    private static func field(_ name: ArraySlice<UInt8>) -> Field? {
        fields.first { $0.name.count == name.count && isSame(name, $0.name) }?.field
    }

    /// Whether text is the same as lower-case text, apart from its case.
    private static func isSame(_ text: ArraySlice<UInt8>, _ other: some Collection<UInt8>) -> Bool {
        text.elementsEqual(other) { byte, lower in
            byte == lower || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) && byte | 0x20 == lower
        }
    }

    /// Whether text has only the characters of a compact JWT.
    private static func isToken(_ text: ArraySlice<UInt8>) -> Bool {
        !text.isEmpty && text.allSatisfy { isLetterOrDigit($0) || "-_.".utf8.contains($0) }
    }
}

private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
private func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) && byte >= UInt8(ascii: "A")
}
