import Domain
import Hummingbird
import NIOCore

extension IPAddress {
    /// The address of a socket; nil if the socket is not of the internet.
    init?(_ address: SocketAddress) {
        guard let text = address.ipAddress else { return nil }
        self.init(text)
    }

    /// Reads one address of `X-Forwarded-For`, where some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
    ///
    /// - Parameter text: The address in ASCII, with spaces and tabs around it (RFC 9110, 5.6.1).
    init?(forwarded text: some BidirectionalCollection<UInt8>) {
        let text = text.trimmingBlanks
        let colon = UInt8(ascii: ":")
        if text.first == UInt8(ascii: "[") {
            self.init(utf8: text.dropFirst().prefix { $0 != UInt8(ascii: "]") })
        } else if let end = text.firstIndex(of: colon), text.contains(UInt8(ascii: ".")),
            !text[end...].dropFirst().contains(colon)
        {
            self.init(utf8: text[..<end])
        } else {
            self.init(utf8: text)
        }
    }
}

extension AddressRanges {
    /// The address of a client that may have come through proxies.
    ///
    /// Each proxy appends the address of the peer that connected to it. The server therefore reads the list from its
    /// end, and moves left only past the addresses of trusted proxies. The client can forge only the addresses further
    /// left.
    ///
    /// - Parameters:
    ///   - peer: The address at the other end of the connection.
    ///   - forwarded: The values of `X-Forwarded-For` in ASCII, in their order. A value may be a list.
    /// - Returns: The first address from the end that does not belong to a trusted proxy.
    func client(peer: IPAddress, forwarded: [some BidirectionalCollection<UInt8>]) -> IPAddress {
        var client = peer
        for text in forwarded.flatMap({ $0.split(separator: UInt8(ascii: ",")) }).reversed() {
            guard contains(client), let address = IPAddress(forwarded: text) else { break }
            client = address
        }
        return client
    }
}

extension BidirectionalCollection<UInt8> {
    /// The bytes without the spaces and tabs around them.
    fileprivate var trimmingBlanks: SubSequence {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        guard let first = firstIndex(where: { !isBlank($0) }), let last = lastIndex(where: { !isBlank($0) }) else {
            return self[endIndex...]
        }
        return self[first...last]
    }
}

/// Where a request comes from.
struct RequestOrigin: Sendable {
    /// The address at the other end of the connection.
    let peer: IPAddress
    /// The address of the client, past the trusted proxies.
    let client: IPAddress
}

extension HTTPSettings {
    /// Where a request comes from; nil if the socket is not of the internet.
    func origin(of request: Request, over connection: ClientConnection) -> RequestOrigin? {
        guard let peer = connection.channel.remoteAddress.flatMap(IPAddress.init) else { return nil }
        let forwarded = request.headers[values: .forwardedFor].map(\.utf8)
        return RequestOrigin(peer: peer, client: trustedProxies.client(peer: peer, forwarded: forwarded))
    }

    /// The address of the client that sent a request, past the trusted proxies; nil if the socket is not of the internet.
    func clientAddress(of request: Request, over connection: ClientConnection) -> IPAddress? {
        origin(of: request, over: connection)?.client
    }
}
