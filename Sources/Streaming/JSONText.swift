public import Domain

/// Appends the progress object as JSON.
///
/// All responses, events and messages carry these bytes. The keys have the order of docs/http-api.md, "The progress
/// object". The code is written by hand because it is on the way of one change: each change is encoded once for all its
/// subscribers.
///
/// - Parameters:
///   - progress: The state of a session.
///   - bytes: Where the text is appended.
public func appendJSON(_ progress: SessionProgress, to bytes: inout [UInt8]) {
    bytes.append(utf8: #"{"session_id":""#)
    bytes.append(utf8: progress.sessionID.description)
    bytes.append(utf8: #"","status":""#)
    bytes.append(utf8: progress.status.rawValue)
    bytes.append(utf8: #"","progress":"#)
    bytes.append(utf8: String(progress.progress))
    bytes.append(utf8: #","message":"#)
    appendJSON(progress.message, to: &bytes)
    bytes.append(utf8: #","error":"#)
    appendJSON(progress.error, to: &bytes)
    bytes.append(utf8: #","estimated_time_remaining":"#)
    bytes.append(utf8: progress.estimatedTimeRemaining.map(String.init) ?? "null")
    bytes.append(utf8: #","segments":"#)
    bytes.append(utf8: String(progress.segments))
    bytes.append(utf8: #","version":"#)
    bytes.append(utf8: String(progress.version))
    bytes.append(utf8: #","attempt":"#)
    bytes.append(utf8: String(progress.attempt))
    bytes.append(utf8: #","created_at":""#)
    progress.createdAt.append(to: &bytes)
    bytes.append(utf8: #"","updated_at":""#)
    progress.updatedAt.append(to: &bytes)
    bytes.append(utf8: #""}"#)
}

/// Appends a JSON string, or null.
///
/// RFC 8259, section 7: "the characters that MUST be escaped: quotation mark, reverse solidus, and the control
/// characters (U+0000 through U+001F)". Hence no CR or LF can leave an event's `data:` line. U+0085, U+2028 and U+2029 are
/// escaped too: for many line readers, such as Python's `str.splitlines`, they end a line. U+007F is not printable either.
func appendJSON(_ string: String?, to bytes: inout [UInt8]) {
    guard let string else { return bytes.append(utf8: "null") }
    bytes.append(UInt8(ascii: "\""))
    for scalar in string.unicodeScalars {
        switch scalar {
        case "\"": bytes.append(utf8: #"\""#)
        case "\\": bytes.append(utf8: #"\\"#)
        case "\n": bytes.append(utf8: #"\n"#)
        case "\r": bytes.append(utf8: #"\r"#)
        case "\t": bytes.append(utf8: #"\t"#)
        case "\u{0}"..."\u{1F}", "\u{7F}", "\u{85}", "\u{2028}", "\u{2029}": appendEscape(scalar, to: &bytes)
        default: bytes.append(contentsOf: String(scalar).utf8)
        }
    }
    bytes.append(UInt8(ascii: "\""))
}

private func appendEscape(_ scalar: Unicode.Scalar, to bytes: inout [UInt8]) {
    let digits = String(scalar.value, radix: 16)
    bytes.append(utf8: #"\u"# + String(repeating: "0", count: 4 - digits.count) + digits)
}

extension [UInt8] {
    mutating func append(utf8 string: String) {
        append(contentsOf: string.utf8)
    }
}
