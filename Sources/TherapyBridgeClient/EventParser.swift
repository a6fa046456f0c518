/// Reads the bytes of a stream of Server-Sent Events.
///
/// [The standard](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream) says: "Streams
/// must be decoded using the UTF-8 decode algorithm." A line is decoded as a whole, and therefore the pieces of the network
/// may split a character.
struct EventParser {
    /// An event of the stream.
    struct Event: Hashable {
        var name: String
        var id: String?
        var data: String
    }

    /// The stream has an event that is larger than ``limit``.
    struct EventTooLarge: Error {}

    /// The greatest size of an event, in bytes.
    static let limit = 8 * 1024 * 1024

    /// The reconnection delay that the server named last, or nil.
    private(set) var retry: Duration?
    /// True if the bytes so far end in the middle of an event.
    var isInsideEvent: Bool { !line.isEmpty || !data.isEmpty }

    private var line: [UInt8] = []
    private var data: [String] = []
    private var name = ""
    private var id: String?
    private var size = 0
    private var skipsLineFeed = false
    private var isFirstLine = true

    /// Takes bytes, and returns the events that end in them.
    ///
    /// - Throws: ``EventTooLarge``
    mutating func feed(_ bytes: some Collection<UInt8>) throws -> [Event] {
        var events: [Event] = []
        var rest = bytes[...]
        // NIO's buffers find one byte by memchr(), and one of two bytes by a slow loop.
        var lineFeed = rest.firstIndex(of: UInt8(ascii: "\n"))
        var carriageReturn = rest.firstIndex(of: UInt8(ascii: "\r"))
        while let end = [lineFeed, carriageReturn].compactMap(\.self).min() {
            let isSecondHalf = skipsLineFeed && end == rest.startIndex && rest[end] == UInt8(ascii: "\n")
            skipsLineFeed = rest[end] == UInt8(ascii: "\r")
            if !isSecondHalf {
                line += rest[..<end]
                if let event = take(line[...]) { events.append(event) }
                line.removeAll(keepingCapacity: true)
            }
            rest = rest[rest.index(after: end)...]
            if lineFeed == end { lineFeed = rest.firstIndex(of: UInt8(ascii: "\n")) }
            if carriageReturn == end { carriageReturn = rest.firstIndex(of: UInt8(ascii: "\r")) }
        }
        if !rest.isEmpty { skipsLineFeed = false }
        line += rest
        if size + line.count > Self.limit { throw EventTooLarge() }
        return events
    }

    private mutating func take(_ bytes: ArraySlice<UInt8>) -> Event? {
        var bytes = bytes
        if isFirstLine, bytes.starts(with: "\u{FEFF}".utf8) { bytes = bytes.dropFirst(3) }
        isFirstLine = false
        if bytes.isEmpty {
            defer { (data, name, id, size) = ([], "", nil, 0) }
            return data.isEmpty
                ? nil : Event(name: name.isEmpty ? "message" : name, id: id, data: data.joined(separator: "\n"))
        }
        size += bytes.count
        let colon = bytes.firstIndex(of: UInt8(ascii: ":"))
        let field = String(decoding: bytes[..<(colon ?? bytes.endIndex)], as: UTF8.self)
        var content = colon.map { bytes[($0 + 1)...] } ?? []
        if content.first == UInt8(ascii: " ") { content = content.dropFirst() }
        let value = String(decoding: content, as: UTF8.self)
        switch field {
        case "data": data.append(value)
        case "event": name = value
        case "id" where !value.utf8.contains(0): id = value
        case "retry" where !value.isEmpty && value.utf8.allSatisfy({ (48...57).contains($0) }):
            // A server in trouble must not send its clients away for ever.
            retry = .milliseconds(min(Int(value) ?? .max, 600_000))
        default: break
        }
        return nil
    }
}
