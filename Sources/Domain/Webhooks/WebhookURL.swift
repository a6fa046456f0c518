/// The rules for the targets of webhooks.
public struct WebhookRules: Sendable, Equatable {
    /// True if deliveries may go to private addresses, and by http.
    public var allowsPrivateTargets: Bool

    /// The rules.
    public init(allowsPrivateTargets: Bool) { self.allowsPrivateTargets = allowsPrivateTargets }

    /// True if the server may connect to an address.
    public func permits(_ address: IPAddress) -> Bool { allowsPrivateTargets || PublicAddresses.contains(address) }
}

/// The URL of an endpoint.
///
/// This reads less than RFC 3986 allows. Each accepted URL has one meaning for every program that reads it, and the host that the
/// rules check is the host that the client connects to.
public struct WebhookURL: Sendable, Hashable, CustomStringConvertible {
    /// What the URL names as its host.
    public enum Host: Sendable, Hashable {
        /// An address, which is checked at once.
        case address(IPAddress)
        /// A name in lower case, whose addresses are checked at each delivery.
        case name(String)
    }

    /// Why a URL is refused.
    public enum Fault: Error, Sendable, Equatable {
        /// The text is too long, or is no URL.
        case malformed
        /// The scheme is not https, and http is not allowed.
        case scheme
        /// The URL has a user or a password.
        case userInfo
        /// The URL has a fragment, which no request carries.
        case fragment
        /// The host is missing, or is neither a name nor an address.
        case host
        /// The port is no number from 1 to 65535.
        case port
        /// The address may not be connected to.
        case address
    }

    /// The maximum length, in bytes.
    public static let maximumLength = 2048

    /// The host.
    public let host: Host
    /// The URL with its scheme and host in lower case.
    public let description: String

    /// Reads a URL, and checks it by the rules.
    ///
    /// - Throws: The first fault.
    public init(_ text: String, rules: WebhookRules) throws(Fault) {
        guard text.utf8.count <= Self.maximumLength, text.utf8.allSatisfy(Self.isURLByte) else { throw .malformed }
        let lower = text.lowercased()
        let schemes = rules.allowsPrivateTargets ? ["https://", "http://"] : ["https://"]
        guard let scheme = schemes.first(where: lower.hasPrefix) else {
            throw lower.firstMatch(of: /^[a-z][a-z0-9+.-]*:/) == nil ? .malformed : .scheme
        }
        let rest = text.utf8.dropFirst(scheme.utf8.count)
        let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") }
        let authority = String(decoding: rest[..<(end ?? rest.endIndex)], as: UTF8.self)
        let path = String(decoding: rest[(end ?? rest.endIndex)...], as: UTF8.self)
        guard !authority.contains("@") else { throw .userInfo }
        guard !path.contains("#") else { throw .fragment }
        guard Self.isPath(path) else { throw .malformed }
        host = try Self.host(ofAuthority: authority.lowercased())
        if case .address(let address) = host, !rules.permits(address) { throw .address }
        description = scheme + authority.lowercased() + path
    }

    /// Printable ASCII without the characters that RFC 3986 leaves out.
    private static func isURLByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7f && !"\"<>\\^`{|}".utf8.contains(byte)
    }

    /// Whether each percent sign begins an escape, and no bracket stands outside of the host.
    private static func isPath(_ path: String) -> Bool {
        !path.contains { $0 == "[" || $0 == "]" }
            && path.split(separator: "%", omittingEmptySubsequences: false).dropFirst()
                .allSatisfy { $0.prefix(2).count == 2 && $0.prefix(2).allSatisfy(\.isHexDigit) }
    }

    private static func host(ofAuthority authority: String) throws(Fault) -> Host {
        let hostText: Substring
        let portText: Substring?
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { throw .host }
            hostText = authority[...end]
            let rest = authority[authority.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw .host }
            portText = rest.isEmpty ? nil : rest.dropFirst()
        } else {
            let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            hostText = parts[0]
            portText = parts.count == 2 ? parts[1] : nil
        }
        if let portText {
            guard portText.utf8.count <= 5, portText.allSatisfy(\.isNumber), let port = Int(portText),
                (1...65535).contains(port)
            else { throw .port }
        }
        return try host(hostText)
    }

    private static func host(_ text: Substring) throws(Fault) -> Host {
        if text.hasPrefix("[") {
            let literal = text.dropFirst().dropLast()
            guard literal.contains(":"), let address = IPAddress(String(literal)) else { throw .host }
            return .address(address)
        }
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard text.utf8.count <= 253, labels.allSatisfy(isLabel), let last = labels.last else { throw .host }
        // Programs take such a name for an address in one of several forms (WHATWG URL, "ends in a number"). Only the usual form
        // means the same to all of them.
        if last.allSatisfy(\.isNumber) || last.hasPrefix("0x") {
            guard let address = IPAddress(String(text)) else { throw .host }
            return .address(address)
        }
        return .name(String(text))
    }

    private static func isLabel(_ label: Substring) -> Bool {
        (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
            && label.utf8.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
            }
    }
}
