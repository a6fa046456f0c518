import Domain
import FoundationEssentials
import JSONScanning
import NIOCore
import Store

/// The transcript of a session as the routes send it.
///
/// The segments keep the form in which they are stored, with their numbers and members that the server does not know.
struct TranscriptDocument {
    /// A segment, as far as the server reads it.
    struct Segment: Decodable {
        /// Seconds from the beginning of the recording.
        let start: Double
        let end: Double
        let text: String
        let speaker: String?
    }

    private let stored: StoredTranscript
    private let segments: [UInt8]
    private let elements: [Range<Int>]
    /// The members that the pipeline added, with a comma before each.
    private let others: [UInt8]
    /// The entity tag of the JSON with all segments, which is strong.
    private(set) var tag = ""
    /// The number of segments.
    var count: Int { elements.count }

    /// Reads a stored transcript.
    ///
    /// - Throws: `JSONSlices.Fault` if it is not JSON. PostgreSQL stores nothing else.
    init(_ stored: StoredTranscript) throws {
        self.stored = stored
        segments = Array(stored.segments.utf8)
        elements = try JSONSlices.elements(of: segments)
        let object = Array(stored.others.utf8)
        // `{…}` without its brackets.
        others =
            try JSONSlices.members(of: object).isEmpty
            ? [] : Array(",".utf8) + object.drop { $0 != UInt8(ascii: "{") }.dropFirst().dropLast()
        tag = EntityTags.strong(of: json(from: 0))
    }

    /// The segments from an index on, with their indices.
    ///
    /// A segment that an operator has stored in another form is left out.
    func segments(from first: Int) -> [(index: Int, segment: Segment)] {
        let decoder = JSONDecoder()
        return elements.indices.dropFirst(first).compactMap { index in
            (try? decoder.decode(Segment.self, from: Data(segments[elements[index]]))).map { (index, $0) }
        }
    }

    /// The JSON object with the segments from an index on.
    ///
    /// Its text is that of these segments.
    func json(from first: Int) -> [UInt8] {
        let text =
            if first == 0, let whole = stored.text {
                Array(whole.utf8)
            } else {
                Array(JSON.encode(segments(from: first).map(\.segment.text).joined(separator: " ")).readableBytesView)
            }
        var json = Array(#"{"text":"#.utf8) + text + Array(#","segments":["#.utf8)
        for (offset, element) in elements.dropFirst(first).enumerated() {
            if offset > 0 { json.append(UInt8(ascii: ",")) }
            json += segments[element]
        }
        func number(_ seconds: Double?) -> String { seconds.map { "\($0)" } ?? "null" }
        json +=
            """
            ],"attempt":\(stored.attempt),"is_final":\(stored.isFinal),"is_complete":\(stored.length.isComplete),\
            "duration_seconds":\(number(stored.length.decoded)),"announced_seconds":\(number(stored.length.announced))
            """.utf8
        return json + others + Array("}".utf8)
    }
}
