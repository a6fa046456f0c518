import Foundation

/// An IPv4 or IPv6 address of a receiver.
///
/// An IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2) is the IPv4 address: a socket reaches the same host by either.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    private static let mappedPrefix: [UInt8] = Array(repeating: 0, count: 10) + [0xff, 0xff]

    /// 4 or 16 bytes, in network order.
    public let bytes: [UInt8]

    /// An address of 4 or 16 bytes in network order; nil for another number of bytes.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = Array(bytes.starts(with: Self.mappedPrefix) ? bytes.dropFirst(12) : bytes.dropFirst(0))
    }

    /// Reads an address in its usual form; nil for any other text.
    ///
    /// Forms of IPv4 that only some programs know, such as `127.1`, `0x7f.0.0.1` and `017700000001`, are no addresses here.
    public init?(_ text: String) {
        // inet_pton(3) reads a C string.
        guard !text.utf8.contains(0), text.utf8.count < Int(INET6_ADDRSTRLEN) else { return nil }
        var four = in_addr()
        var sixteen = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            self.init(bytes: withUnsafeBytes(of: four) { Array($0) })
        } else if inet_pton(AF_INET6, text, &sixteen) == 1 {
            self.init(bytes: withUnsafeBytes(of: sixteen) { Array($0) })
        } else {
            return nil
        }
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
}
