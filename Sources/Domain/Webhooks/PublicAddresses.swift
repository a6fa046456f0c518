/// Which addresses belong to the public internet.
///
/// The ranges are those of IANA's registries of special-purpose addresses for IPv4 and IPv6. An address that is not public can
/// belong to the server's own host, to its network, or to the metadata service of a cloud.
public enum PublicAddresses {
    /// Ranges that are spelled right, because they stand in this file.
    private static func ranges(_ list: String...) -> AddressRanges {
        guard let ranges = AddressRanges(list.joined(separator: ",")) else { preconditionFailure("\(list)") }
        return ranges
    }

    private static let privateIPv4 = ranges(
        "0.0.0.0/8",  // this host and this network
        "10.0.0.0/8",  // private
        "100.64.0.0/10",  // the network of a provider (CGNAT)
        "127.0.0.0/8",  // loopback
        "169.254.0.0/16",  // link-local, and the metadata of clouds
        "172.16.0.0/12",  // private
        "192.0.0.0/24",  // protocols
        "192.0.2.0/24",  // documentation
        "192.88.99.0/24",  // relays of 6to4
        "192.168.0.0/16",  // private
        "198.18.0.0/15",  // benchmarks
        "198.51.100.0/24",  // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/4",  // multicast
        "240.0.0.0/4"  // reserved, and the broadcast address
    )

    /// The range from which IANA assigns public IPv6 addresses.
    ///
    /// Loopback, unspecified, private (ULA), link-local, site-local and multicast addresses are outside, and IPv4-compatible ones.
    private static let assignedIPv6 = ranges("2000::/3")

    private static let privateIPv6 = ranges(
        "2001::/23",  // protocols: Teredo, which wraps an IPv4 address, benchmarks, ORCHID
        "2001:db8::/32",  // documentation
        "2002::/16",  // 6to4, which wraps an IPv4 address
        "3ffe::/16",  // a former test network
        "3fff::/20"  // documentation
    )

    /// NAT64 (RFC 6052): the last four bytes are an IPv4 address.
    ///
    /// A network without IPv4 reaches the public one by it.
    private static let translated = ranges("64:ff9b::/96")

    /// True if an address is of the public internet.
    public static func contains(_ address: IPAddress) -> Bool {
        let bytes = address.bytes
        if bytes.count == 4 { return !privateIPv4.contains(address) }
        if translated.contains(address) { return !privateIPv4.contains(IPAddress(bytes: Array(bytes.suffix(4)))) }
        return assignedIPv6.contains(address) && !privateIPv6.contains(address)
    }
}
