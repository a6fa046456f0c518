/// The part of a client's IP address that one customer of a network controls.
///
/// That is the whole IPv4 address, or the first 64 bits of an IPv6 address. A host chooses the other 64 bits itself and may
/// change them at any time (RFC 8981).
public struct ClientNetwork: Hashable, Sendable {
    /// The 32 bits of an IPv4 address, or the first 64 bits of an IPv6 address.
    private let bits: UInt64
    private let isIPv6: Bool

    /// The network of an address.
    ///
    /// - Parameter address: The 4 or 16 bytes of the address, in network order.
    /// - Precondition: The address has 4 or 16 bytes.
    public init(address: some Collection<UInt8>) {
        precondition(address.count == 4 || address.count == 16, "an IP address has 4 or 16 bytes")
        isIPv6 = address.count == 16
        bits = address.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The 4 bytes of an IPv4 address, or the first 8 bytes of an IPv6 address, in network order.
    public var bytes: [UInt8] {
        stride(from: isIPv6 ? 56 : 24, through: 0, by: -8).map { UInt8(truncatingIfNeeded: bits >> UInt64($0)) }
    }
}
