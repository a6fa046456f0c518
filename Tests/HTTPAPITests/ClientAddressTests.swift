import Domain
import NIOCore
import Testing

@testable import HTTPAPI

@Suite("The address of a client")
struct ClientAddressTests {
    @Test("An address is the same in every notation")
    func same() {
        for (first, second) in [
            ("192.0.2.1", "::ffff:192.0.2.1"), ("192.0.2.1", "::ffff:c000:201"),
            ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"),
        ] {
            #expect(IPAddress(first) != nil)
            #expect(IPAddress(first) == IPAddress(second), "\(first), \(second)")
        }
        #expect(IPAddress("192.0.2.1")?.bytes == [192, 0, 2, 1])
        #expect(IPAddress("192.0.2.1") != IPAddress("::192.0.2.1"))
    }

    @Test(
        "Other text is not an address",
        arguments: ["", " ", "unknown", "_hidden", "192.0.2", "192.0.2.256", "1:2", "::1%lo", "é"])
    func malformed(_ text: String) {
        #expect(IPAddress(text) == nil)
        #expect(IPAddress(forwarded: text.utf8) == nil)
    }

    @Test(
        "A forwarded address may have a port",
        arguments: [
            (" 192.0.2.1 ", "192.0.2.1"), ("192.0.2.1:4711", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ])
    func forwarded(_ text: String, _ address: String) {
        #expect(IPAddress(forwarded: text.utf8) != nil)
        #expect(IPAddress(forwarded: text.utf8) == IPAddress(address))
    }

    @Test("A socket's address has no port, and a Unix socket has no address")
    func socket() throws {
        #expect(
            IPAddress(try SocketAddress(ipAddress: "192.0.2.1", port: 80))
                == IPAddress(try SocketAddress(ipAddress: "::ffff:192.0.2.1", port: 81)))
        #expect(IPAddress(try SocketAddress(unixDomainSocketPath: "/tmp/x")) == nil)
    }

    @Test("An IPv6 address counts by its first 64 bits")
    func customer() {
        func customer(_ text: String) -> [UInt8]? { IPAddress(text)?.network.bytes }
        #expect(customer("2001:db8:1:2:3:4:5:6") == customer("2001:db8:1:2::"))
        #expect(customer("2001:db8:1:2::") != customer("2001:db8:1:3::"))
        #expect(customer("192.0.2.1") != customer("192.0.2.2"))
    }

    @Test(
        "A range contains an address or does not",
        arguments: [
            ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("10.1.2.3/8", "10.9.9.9", true),
            ("192.0.2.128/25", "192.0.2.128", true), ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false), ("::/0", "192.0.2.1", false), ("::1", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true), ("2001:db8::/32", "2001:db9::1", false),
            ("fd00::/7", "fc00::1", true), ("10.0.0.0/8 , ::1,192.0.2.1", "192.0.2.1", true), ("", "192.0.2.1", false),
        ])
    func ranges(_ ranges: String, _ address: String, _ isInside: Bool) throws {
        #expect(try #require(AddressRanges(ranges)).contains(try #require(IPAddress(address))) == isInside)
    }

    @Test(
        "The address behind proxies is what the trusted proxies wrote",
        arguments: [
            ("203.0.113.9", [], "203.0.113.9"),
            // No trusted proxy wrote this.
            ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
            ("127.0.0.1", [], "127.0.0.1"),
            ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            // The client itself wrote what stands further left.
            ("127.0.0.1", ["192.0.2.7", " 198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", ["10.0.0.9", "198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", ["192.0.2.7", "198.51.100.1", "10.0.0.5"], "198.51.100.1"),
            ("10.0.0.5", ["10.0.0.6"], "10.0.0.6"),
            ("127.0.0.1", ["198.51.100.1", "unknown"], "127.0.0.1"),
            ("127.0.0.1", [""], "127.0.0.1"),
        ] as [(String, [String], String)])
    func client(_ peer: String, _ forwarded: [String], _ client: String) throws {
        let proxies = try #require(AddressRanges("127.0.0.0/8, ::1, 10.0.0.0/24"))
        #expect(
            proxies.client(peer: try #require(IPAddress(peer)), forwarded: forwarded.map(\.utf8))
                == IPAddress(client))
    }
}
