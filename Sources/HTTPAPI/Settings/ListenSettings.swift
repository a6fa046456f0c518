public import SettingsReading

/// Where the HTTP servers listen.
public struct ListenSettings: Sendable {
    /// The name or address of this machine that the server listens on.
    public let host: String
    /// The port; 0 takes a free one.
    public let port: Int
    /// The port on loopback that serves the metrics without a token; nil for none.
    public let metricsPort: Int?

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        // The server learns only when it listens whether this machine has the name or address.
        host = try reader.value(
            "HOST", form: "a host's name or address, such as 127.0.0.1 or ::1", default: "127.0.0.1",
            "Where `serve` listens. On `127.0.0.1`, `::1` or `localhost` it listens on both loopback addresses, or logs a "
                + "warning."
        ) { $0.wholeMatch(of: /[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?/) == nil ? nil : $0 }
        port = try reader.integer("PORT", in: 0...65_535, default: 8000, "The port of `HOST`. 0 takes a free one.")
        let metricsName = "METRICS_PORT"
        metricsPort = try reader.value(
            metricsName, form: "off, or a whole number from 1 to 65535", default: "off",
            "A second port, on 127.0.0.1 alone, that serves [metrics](metrics.md) without a token; for `serve` and `work`."
        ) { text -> Int?? in
            if text == "off" { return .some(nil) }
            guard let number = Int(text), (1...65_535).contains(number) else { return nil }
            return number
        }
        if metricsPort == port { throw SettingError(metricsName, "has to be another port than PORT") }
    }

    /// The URL of the server for a browser on this machine.
    var url: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    /// The address to listen on: the host, or 127.0.0.1 for `localhost`, which is the name of two addresses.
    var address: String { host.lowercased() == "localhost" ? Self.loopback : host }

    /// The loopback address of the other IP version, if the host is on loopback.
    ///
    /// A browser that opens `localhost` may try either address first.
    var otherLoopbackAddress: String? {
        switch address {
        case Self.loopback: Self.loopback6
        case Self.loopback6: Self.loopback
        default: nil
        }
    }

    /// True if only programs on this machine reach the server's own address.
    var isOnLoopback: Bool { otherLoopbackAddress != nil || address.wholeMatch(of: /127(\.\d{1,3}){3}/) != nil }

    private static let loopback = "127.0.0.1"
    private static let loopback6 = "::1"
}
