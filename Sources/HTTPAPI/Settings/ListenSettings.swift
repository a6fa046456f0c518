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
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        // Whether the name or address is one of this machine's shows when the server listens.
        host = try reader.value(
            "HOST", form: "a host's name or address, such as 127.0.0.1 or ::1", default: "127.0.0.1",
            "Where `serve` listens."
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

    /// The address of the server for a browser on this machine.
    var address: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)" }
}
