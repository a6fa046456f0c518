import Domain

/// A form in which a client gets a transcript; the raw value is the parameter `format`.
enum TranscriptFormat: String {
    case json
    /// Plain text: a line for each segment.
    case text = "txt"
    /// WebVTT (W3C, WebVTT: The Web Video Text Tracks Format).
    case webVTT = "vtt"
    /// SubRip, for which there is no standard.
    case subRip = "srt"

    var mediaType: String {
        switch self {
        case .json: "application/json"
        case .text: "text/plain"
        case .webVTT: "text/vtt"
        case .subRip: "application/x-subrip"
        }
    }

    /// Writes a transcript from a segment on.
    ///
    /// The cues of SubRip keep the numbers that they have in the whole transcript. A client can therefore append what
    /// it gets.
    func render(_ document: TranscriptDocument, from first: Int) -> [UInt8] {
        if self == .json { return document.json(from: first) }
        let parts = document.segments(from: first).map { index, segment in
            switch self {
            case .json, .text: Self.line(segment) + "\n"
            case .webVTT: "\n" + Self.cue(segment, separator: ".")
            case .subRip: "\(index + 1)\n" + Self.cue(segment, separator: ",") + "\n"
            }
        }
        return Array(((self == .webVTT ? "WEBVTT\n" : "") + parts.joined()).utf8)
    }

    /// A cue: its times and its text.
    ///
    /// WebVTT, 4.1: the text is "any sequence of zero or more characters other than U+000A LINE FEED and U+000D CARRIAGE
    /// RETURN […] that does not contain the substring "-->"", and "a WebVTT cue text" has no bare `&` or `<`. The end
    /// "must be greater than the start time".
    private static func cue(_ segment: TranscriptDocument.Segment, separator: String) -> String {
        let start = milliseconds(segment.start)
        let end = max(milliseconds(segment.end), start + 1)
        return "\(time(start, separator)) --> \(time(end, separator))\n\(escaped(line(segment)))\n"
    }

    /// The words of a segment as one line, behind the name of the speaker.
    private static func line(_ segment: TranscriptDocument.Segment) -> String {
        let words = oneLine(segment.text)
        guard let speaker = segment.speaker.map(oneLine), !speaker.isEmpty else { return words }
        return "\(speaker): \(words)"
    }

    /// The text with a blank for each run of blanks and characters that may not be shown, and none at its ends.
    private static func oneLine(_ text: String) -> String {
        text.unicodeScalars.split { !$0.mayBeShown || $0.properties.isWhitespace }.map { String($0) }
            .joined(separator: " ")
    }

    /// The text without the characters that begin a tag, an entity or the arrow between two times.
    ///
    /// A player reads code points. A `<` with a combining mark is one `Character`, and still begins a tag.
    private static func escaped(_ line: String) -> String {
        String(
            line.unicodeScalars.replacing("&".unicodeScalars, with: "&amp;".unicodeScalars)
                .replacing("<".unicodeScalars, with: "&lt;".unicodeScalars)
                .replacing("-->".unicodeScalars, with: "--&gt;".unicodeScalars))
    }

    private static func milliseconds(_ seconds: Double) -> Int { Int((min(max(seconds, 0), 1e9) * 1000).rounded()) }

    /// A time as `00:00:02.500`.
    private static func time(_ milliseconds: Int, _ separator: String) -> String {
        func padded(_ number: Int, _ digits: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(digits - text.count, 0)) + text
        }
        let seconds = milliseconds / 1000
        return padded(seconds / 3600) + ":" + padded(seconds / 60 % 60) + ":" + padded(seconds % 60) + separator
            + padded(milliseconds % 1000, 3)
    }
}
