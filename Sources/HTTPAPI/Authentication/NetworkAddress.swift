import Domain
import Foundation
import Hummingbird
import NIOCore

/// An IPv4 or IPv6 address, without a port.
///
/// An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) counts as the IPv4 address. A server socket on `::`
/// sees all IPv4 clients in that form.
struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 or 16 bytes, in network order.
    let bytes: [UInt8]

    private static let mappedPrefix: [UInt8] = Array(repeating: 0, count: 10) + [0xff, 0xff]

    /// Reads an address from text; nil if the text is not one.
    init?(_ text: some StringProtocol) { self.init(utf8: text.utf8) }

    /// Reads an address from text in ASCII; nil if the text is not one.
    init?(utf8 text: some Collection<UInt8>) {
        // inet_pton(3) reads a C string.
        guard text.count < Int(INET6_ADDRSTRLEN), !text.contains(0) else { return nil }
        let bytes = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { copy in
            var end = 0
            for byte in text {
                copy[end] = CChar(bitPattern: byte)
                end += 1
            }
            copy[end] = 0
            return copy.baseAddress.flatMap { Self.bytes($0, AF_INET, count: 4) ?? Self.bytes($0, AF_INET6, count: 16) }
        }
        guard let bytes else { return nil }
        self.init(bytes: bytes)
    }

    private static func bytes(_ text: UnsafePointer<CChar>, _ family: CInt, count: Int) -> [UInt8]? {
        var isAddress = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
            isAddress = inet_pton(family, text, bytes.baseAddress) == 1
            filled = isAddress ? count : 0
        }
        return isAddress ? bytes : nil
    }

    /// An address of 4 or 16 bytes in network order.
    init(bytes: [UInt8]) {
        self.bytes = bytes.starts(with: Self.mappedPrefix) ? Array(bytes.dropFirst(12)) : bytes
    }

    /// The address of a socket; nil if the socket is not of the internet.
    init?(_ address: SocketAddress) {
        let bytes: [UInt8]
        switch address {
        case .v4(let address): bytes = withUnsafeBytes(of: address.address.sin_addr) { Array($0) }
        case .v6(let address): bytes = withUnsafeBytes(of: address.address.sin6_addr) { Array($0) }
        case .unixDomainSocket: return nil
        }
        self.init(bytes: bytes)
    }

    /// The text form, such as `192.0.2.1` or `2001:db8::1`.
    var description: String {
        let address = try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: 0)
        return address?.ipAddress ?? "unknown"
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

    /// The part of the address that one customer of a network controls, for limits and the audit log.
    var network: ClientNetwork { ClientNetwork(address: bytes) }
}

/// Ranges of addresses, such as `10.0.0.0/8`.
public struct AddressRanges: Sendable {
    private struct Range {
        let prefix: [UInt8]
        let length: Int

        func contains(_ address: NetworkAddress) -> Bool {
            guard address.bytes.count == prefix.count else { return false }
            return zip(address.bytes, prefix).enumerated().allSatisfy { index, pair in
                let bits = min(max(length - index * 8, 0), 8)
                let mask = UInt8(truncatingIfNeeded: 0xff << (8 - bits))
                return pair.0 & mask == pair.1 & mask
            }
        }
    }

    private var ranges: [Range] = []

    /// Reads a comma-separated list of addresses and CIDR ranges (RFC 4632, 3.1); nil if a part is neither.
    public init?(_ text: String) {
        for part in text.split(separator: ",") {
            let pieces = part.trimmingCharacters(in: .whitespaces).split(
                separator: "/", omittingEmptySubsequences: false)
            guard let first = pieces.first, pieces.count <= 2, let address = NetworkAddress(first) else { return nil }
            let bits = address.bytes.count * 8
            var length = bits
            if pieces.count == 2 {
                guard let number = Int(pieces[1]), (0...bits).contains(number) else { return nil }
                length = number
            }
            ranges.append(Range(prefix: address.bytes, length: length))
        }
    }

    func contains(_ address: NetworkAddress) -> Bool { ranges.contains { $0.contains(address) } }

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
    func client(peer: NetworkAddress, forwarded: [some BidirectionalCollection<UInt8>]) -> NetworkAddress {
        var client = peer
        for text in forwarded.flatMap({ $0.split(separator: UInt8(ascii: ",")) }).reversed() {
            guard contains(client), let address = NetworkAddress(forwarded: text) else { break }
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

extension HTTPSettings {
    /// The address of the client that sent a request, past the trusted proxies; nil if the socket is not of the internet.
    func clientAddress(of request: Request, over connection: ClientConnection) -> NetworkAddress? {
        guard let peer = connection.channel.remoteAddress.flatMap(NetworkAddress.init) else { return nil }
        return trustedProxies.client(peer: peer, forwarded: request.headers[values: .forwardedFor].map(\.utf8))
    }
}
