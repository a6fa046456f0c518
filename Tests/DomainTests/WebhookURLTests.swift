import Domain
import Testing

/// The URLs of webhooks, and the addresses behind them.
@Suite struct WebhookURLTests {
    private static let strict = WebhookRules(allowsPrivateTargets: false)
    private static let open = WebhookRules(allowsPrivateTargets: true)

    private func fault(of text: String, _ rules: WebhookRules = strict) -> WebhookURL.Fault? {
        do throws(WebhookURL.Fault) {
            _ = try WebhookURL(text, rules: rules)
            return nil
        } catch {
            return error
        }
    }

    @Test(
        "A URL by https with a name or a public address is accepted, and scheme and host are in lower case",
        arguments: [
            ("https://hooks.example.com", "https://hooks.example.com"),
            ("HTTPS://Hooks.Example.COM/A/b?C=d%2F&e", "https://hooks.example.com/A/b?C=d%2F&e"),
            ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443/x"),
            ("https://xn--mller-kva.example/", "https://xn--mller-kva.example/"),
            ("https://localhost/", "https://localhost/"),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://[2606:4700::1111]:443/", "https://[2606:4700::1111]:443/"),
            ("https://a_b.example?x=1", "https://a_b.example?x=1"),
        ])
    func accepted(text: String, canonical: String) throws {
        #expect(try WebhookURL(text, rules: Self.strict).description == canonical)
    }

    @Test("The host of a URL is a name or an address, in one of its forms")
    func hosts() throws {
        #expect(try WebhookURL("https://A.example:1/", rules: Self.strict).host == .name("a.example"))
        let address = try #require(IPAddress("8.8.8.8"))
        #expect(try WebhookURL("https://8.8.8.8/", rules: Self.strict).host == .address(address))
        #expect(try WebhookURL("https://[::ffff:8.8.8.8]/", rules: Self.strict).host == .address(address))
    }

    @Test(
        "Any other URL is refused",
        arguments: [
            ("", .malformed), ("hooks.example.com", .malformed), ("//hooks.example.com/", .malformed),
            ("https:/hooks.example.com", .scheme), ("http://hooks.example.com/", .scheme),
            ("ftp://hooks.example.com/", .scheme), ("file:///etc/passwd", .scheme), ("gopher://a/", .scheme),
            ("http+unix://%2Frun%2Fa.sock/", .scheme), ("javascript:alert(1)", .scheme),
            ("https://user@hooks.example.com/", .userInfo), ("https://user:word@hooks.example.com/", .userInfo),
            ("https://hooks.example.com@127.0.0.1/", .userInfo), ("https://a.example/#b", .fragment),
            ("https://a.example#@127.0.0.1/", .fragment),
            ("https:///x", .host), ("https://?x", .host), ("https://:443/", .host), ("https://.example/", .host),
            ("https://a..example/", .host), ("https://a.example./", .host), ("https://-a.example/", .host),
            ("https://a%2eexample/", .host), ("https://a.example:/", .port), ("https://a.example:0/", .port),
            ("https://a.example:65536/", .port), ("https://a.example:+80/", .port),
            ("https://a.example:8 0/", .malformed),
            ("https://a.example:80:90/", .port), ("https://[::1/", .host), ("https://[::1]x/", .host),
            ("https://[127.0.0.1]/", .host), ("https://[fe80::1%25eth0]/", .host), ("https://[v1.a]/", .host),
            ("https://a.example\\@127.0.0.1/", .malformed), ("https://a.example/ b", .malformed),
            ("https://a.example/\u{0}", .malformed), ("https://a.example/\r\nX: y", .malformed),
            ("https://müller.example/", .malformed), ("https://a.example/%", .malformed),
            ("https://a.example/%2", .malformed), ("https://a.example/%zz", .malformed),
            ("https://a.example/[x]", .malformed), (" https://a.example/", .malformed),
            // Other programs take these for addresses.
            ("https://2130706433/", .host), ("https://0x7f000001/", .host), ("https://127.1/", .host),
            ("https://0177.0.0.1/", .host), ("https://127.0.0.0x1/", .host), ("https://1.2.3.4.5/", .host),
            ("https://a.example.127/", .host), ("https://256.1.1.1/", .host),
        ] as [(String, WebhookURL.Fault)])
    func refused(text: String, expected: WebhookURL.Fault) {
        #expect(fault(of: text) == expected)
    }

    @Test("A URL has at most 2,048 characters")
    func length() {
        let rest = "https://a.example/"
        #expect(fault(of: rest + String(repeating: "a", count: 2048 - rest.count)) == nil)
        #expect(fault(of: rest + String(repeating: "a", count: 2049 - rest.count)) == .malformed)
    }

    @Test("With private targets, http and private addresses are accepted, and every other rule stays")
    func privateTargets() {
        for text in ["http://a.example/", "http://127.0.0.1:8080/", "https://[::1]/", "http://10.0.0.1/"] {
            #expect(fault(of: text, Self.open) == nil, "\(text)")
        }
        for text in ["ftp://a.example/", "http://u@a.example/", "http://a.example/#b", "http://127.1/"] {
            #expect(fault(of: text, Self.open) != nil, "\(text)")
        }
    }

    /// The first and last address of each special range, and the addresses beside it.
    private static let privateAddresses = [
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0",
        "127.0.0.1",
        "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255",
        "192.0.0.0",
        "192.0.0.255", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255",
        "198.51.100.7", "203.0.113.7", "224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255",
        "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254",
        "::ffff:0:8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8",
        "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:1ff:ffff::",
        "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "3ffe::1", "3fff::1", "3fff:fff::1",
        "4000::1",
        "5f00::1", "fc00::1", "fd12:3456::1", "fdff:ffff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1",
        "ff0e::1",
    ]

    private static let publicAddresses = [
        "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255", "223.255.255.255",
        "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1",
        "2606:4700::1111",
        "2a00:1450::1", "3fff:1000::1",
    ]

    @Test("Special addresses are private, also inside of IPv6", arguments: privateAddresses)
    func privateAddress(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(!PublicAddresses.contains(address))
        #expect(!Self.strict.permits(address))
        #expect(Self.open.permits(address))
        let literal = text.contains(":") ? "[\(text)]" : text
        #expect(fault(of: "https://\(literal)/hook") == .address)
    }

    @Test("All other addresses are public", arguments: publicAddresses)
    func publicAddress(text: String) throws {
        #expect(PublicAddresses.contains(try #require(IPAddress(text))))
    }

    @Test(
        "What is no address in its usual form is none",
        arguments: [
            "", "1", "127.1", "0x7f.0.0.1", "127.0.0.1 ", "127.0.0.1\u{0}", "::g", "fe80::1%eth0", "[::1]", "1.2.3.4.5",
        ])
    func noAddress(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("An address of bytes is the same as one of text")
    func bytes() throws {
        #expect(IPAddress(bytes: [127, 0, 0, 1]) == IPAddress("127.0.0.1"))
        #expect(IPAddress(bytes: Array(repeating: 0, count: 15) + [1]).description == "::1")
        #expect(IPAddress(bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]).description == "10.0.0.1")
    }
}

/// The keys and the events of webhooks.
@Suite struct WebhookSecretTests {
    @Test("A secret is whsec_ and the Base64 of 24 to 64 bytes")
    func forms() {
        for count in [24, 25, 32, 63, 64] {
            let secret = WebhookSecret(bytes: Array(repeating: 7, count: count))
            #expect(secret.flatMap { WebhookSecret(text: $0.text) } == secret, "\(count)")
        }
        for count in [0, 1, 23, 65] { #expect(WebhookSecret(bytes: Array(repeating: 7, count: count)) == nil) }
        let good = "whsec_" + String(repeating: "A", count: 32)
        #expect(WebhookSecret(text: good) != nil)
        for text in [
            "", "whsec_", String(good.dropFirst(6)), "WHSEC_" + good.dropFirst(6), good + "\n", good + "A",
            "whsec_ " + good,
            "whsec_" + String(repeating: "-", count: 32), "whsec_" + String(repeating: "A", count: 33) + "B==",
        ] {
            #expect(WebhookSecret(text: text) == nil, "\(text)")
        }
    }

    @Test("A new secret is random, and neither its description nor a dump shows it")
    func hidden() {
        let secret = WebhookSecret.random()
        #expect(secret != .random())
        #expect(secret.bytes.count == 32)
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped] {
            #expect(!text.contains(secret.text) && !text.contains("\(secret.bytes[0])"), "\(text)")
        }
    }

    @Test("Each status has an event, and no other text is one")
    func events() {
        for status in SessionStatus.allCases {
            #expect(WebhookEvent("session.\(status.rawValue)")?.status == status)
            #expect(WebhookEvent(status: status).description == "session.\(status.rawValue)")
        }
        for text in ["", "session.", "processed", "session.Processed", "session.deleted", "session.processed "] {
            #expect(WebhookEvent(text) == nil, "\(text)")
        }
    }
}
