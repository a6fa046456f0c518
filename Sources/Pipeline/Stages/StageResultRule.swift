import FoundationEssentials
import JSONScanning

/// What the result of a stage has to be.
public enum StageResultRule: Sendable, Equatable {
    /// Any JSON.
    case anything
    /// Any JSON object.
    case object
    /// A transcript, by the rules that the database also has (docs/pipeline.md, "Transcripts").
    ///
    /// `recordingSeconds` is the length of the recording, or nil if it is not known. An end that lies at most 30 s past the
    /// recording is cut to its length: the last segment of many models does.
    case transcript(recordingSeconds: Double?)

    /// How far past the recording a segment may end, in seconds.
    static let tolerance = 30.0

    /// Why a result cannot be used: the member that is missing or wrong, such as `segments[3].end is missing`.
    ///
    /// It holds none of the result's words.
    struct Fault: Error, Equatable {
        var description: String
    }

    /// Checks a result.
    ///
    /// - Parameter json: The result as the stage printed it.
    /// - Returns: The result, with ends cut to the length of the recording.
    /// - Throws: ``Fault`` for the first member that is missing or wrong.
    func checked(_ json: String) throws(Fault) -> String {
        switch self {
        case .anything: return json
        case .object:
            _ = try TranscriptCheck.members(of: Array(json.utf8), "the result")
            return json
        case .transcript(let seconds): return try TranscriptCheck(text: Array(json.utf8)).checked(within: seconds)
        }
    }
}

/// The check of one transcript.
///
/// The text keeps every byte but the times that are cut: decoding and encoding would change numbers and members that
/// belong to the site.
private struct TranscriptCheck {
    typealias Fault = StageResultRule.Fault
    typealias Members = [String: Range<Int>]

    let text: [UInt8]

    func checked(within known: Double?) throws(Fault) -> String {
        let members = try Self.members(of: text, "the result")
        guard try has(members, "text", "text", string) else { throw Fault(description: "text is missing") }
        let length = try seconds(members, "duration_seconds") ?? known
        _ = try seconds(members, "announced_seconds")
        guard let segments = members["segments"] else { throw Fault(description: "segments is missing") }
        guard let elements = try? JSONSlices.elements(of: Array(text[segments])) else {
            throw Fault(description: "segments is no array")
        }
        var cuts: [Range<Int>] = []
        var earliest = 0.0
        for (index, element) in elements.enumerated() {
            let element = (segments.lowerBound + element.lowerBound)..<(segments.lowerBound + element.upperBound)
            let times = try times(of: element, "segments[\(index)]")
            guard times.start.value >= earliest else {
                throw Fault(description: "segments[\(index)].start is before the one of segments[\(index - 1)]")
            }
            earliest = times.start.value
            guard let length else { continue }
            guard times.end.value <= length + StageResultRule.tolerance else {
                throw Fault(
                    description:
                        "segments[\(index)].end is more than \(Int(StageResultRule.tolerance)) s past the recording")
            }
            cuts += [times.start, times.end].filter { $0.value > length }.map(\.range)
        }
        guard let length, !cuts.isEmpty else { return String(decoding: text, as: UTF8.self) }
        return cut(cuts, to: length)
    }

    private typealias Time = (value: Double, range: Range<Int>)

    /// Reads one segment.
    private func times(of element: Range<Int>, _ name: String) throws(Fault) -> (start: Time, end: Time) {
        let members = try Self.members(of: Array(text[element]), name).mapValues {
            (element.lowerBound + $0.lowerBound)..<(element.lowerBound + $0.upperBound)
        }
        let start = try time(members, "start", name)
        let end = try time(members, "end", name)
        guard start.value <= end.value else { throw Fault(description: "\(name).end is before its start") }
        guard try has(members, "text", "\(name).text", string) else {
            throw Fault(description: "\(name).text is missing")
        }
        _ = try has(members, "speaker", "\(name).speaker") { isNull($0) || string($0) }
        return (start, end)
    }

    private func time(_ members: Members, _ member: String, _ name: String) throws(Fault) -> Time {
        guard let range = members[member], !isNull(range) else {
            throw Fault(description: "\(name).\(member) is missing")
        }
        guard let value = number(range) else { throw Fault(description: "\(name).\(member) is no number") }
        guard (0...1e9).contains(value) else { throw Fault(description: "\(name).\(member) is no time") }
        return (value, range)
    }

    /// Reads a member with a number of seconds; nil if it is missing or null.
    private func seconds(_ members: Members, _ member: String) throws(Fault) -> Double? {
        guard let range = members[member], !isNull(range) else { return nil }
        guard let value = number(range), (0...1e9).contains(value) else {
            throw Fault(description: "\(member) is no number of seconds")
        }
        return value
    }

    /// True if the member is there.
    ///
    /// - Throws: ``Fault`` if its value is wrong.
    private func has(
        _ members: Members, _ member: String, _ name: String, _ isRight: (Range<Int>) -> Bool
    ) throws(Fault) -> Bool {
        guard let range = members[member] else { return false }
        guard isRight(range) else { throw Fault(description: "\(name) is no string") }
        return true
    }

    private func string(_ range: Range<Int>) -> Bool { text[range].first == UInt8(ascii: "\"") }

    private func isNull(_ range: Range<Int>) -> Bool { text[range].elementsEqual("null".utf8) }

    private func number(_ range: Range<Int>) -> Double? {
        guard let first = text[range].first, first == UInt8(ascii: "-") || (0x30...0x39).contains(first) else {
            return nil
        }
        return Double(String(decoding: text[range], as: UTF8.self))
    }

    /// Replaces times by the length of the recording.
    private func cut(_ ranges: [Range<Int>], to length: Double) -> String {
        var cut: [UInt8] = []
        cut.reserveCapacity(text.count)
        var kept = 0
        // The members of a segment have any order.
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            cut += text[kept..<range.lowerBound]
            cut += "\(length)".utf8
            kept = range.upperBound
        }
        return String(decoding: cut + text[kept...], as: UTF8.self)
    }

    static func members(of text: [UInt8], _ name: String) throws(Fault) -> Members {
        guard let members = try? JSONSlices.members(of: text) else { throw Fault(description: "\(name) is no object") }
        return Dictionary(members.map { ($0.key, $0.value) }) { $1 }
    }
}
