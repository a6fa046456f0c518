import FoundationEssentials
import Glibc

/// An IPv4 or IPv6 address, without a port.
///
/// An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) is the IPv4 address: a server socket on `::` sees all IPv4
/// clients in that form, and a client reaches the same host by either.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    private static let mappedPrefix: [UInt8] = Array(repeating: 0, count: 10) + [0xff, 0xff]

    /// 4 or 16 bytes, in network order.
    public let bytes: [UInt8]

    /// An address from its bytes in network order.
    ///
    /// - Precondition: There are 4 or 16 bytes.
    public init(bytes: [UInt8]) {
        precondition(bytes.count == 4 || bytes.count == 16, "an IP address has 4 or 16 bytes")
        self.bytes = bytes.starts(with: Self.mappedPrefix) ? Array(bytes.dropFirst(12)) : bytes
    }

    /// Reads an address in its usual form; nil for any other text.
    ///
    /// Forms of IPv4 that only some programs know, such as `127.1`, `0x7f.0.0.1` and `017700000001`, are no addresses here.
    public init?(_ text: some StringProtocol) { self.init(utf8: text.utf8) }

    /// Reads an address from text in ASCII; nil if the text is not one.
    public init?(utf8 text: some Collection<UInt8>) {
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

    /// The text form, such as `192.0.2.1` or `2001:db8::1`.
    public var description: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
            let family = bytes.count == 4 ? AF_INET : AF_INET6
            guard inet_ntop(family, bytes, text.baseAddress, socklen_t(INET6_ADDRSTRLEN)) != nil else {
                return "unknown"
            }
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// The part of the address that one customer of a network controls, for limits and the audit log.
    public var network: ClientNetwork { ClientNetwork(address: bytes) }
}
