import Domain

/// Corrections of a transcript as JSON: `{"segments": [{"index": …, "text": …, "speaker": …}]}`.
///
/// A member that is missing stays as it is. A null as the speaker removes it.
struct TranscriptCorrectionBody: Decodable {
    private let segments: [Segment]

    private enum CodingKeys: String, CodingKey, CaseIterable { case segments }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        segments = try decoder.container(keyedBy: CodingKeys.self).decode([Segment].self, forKey: .segments)
        guard !segments.isEmpty else { throw Problem.invalid("segments", "has to hold a correction.") }
    }

    private struct Segment: Decodable {
        let index: WholeNumber
        let text: String?
        let speaker: String??

        private enum CodingKeys: String, CodingKey, CaseIterable { case index, text, speaker }

        init(from decoder: any Decoder) throws {
            try decoder.refuseMembers(otherThan: CodingKeys.self)
            let container = try decoder.container(keyedBy: CodingKeys.self)
            index = try container.decode(WholeNumber.self, forKey: .index)
            text = container.contains(.text) ? try container.decode(String.self, forKey: .text) : nil
            if container.contains(.speaker) {
                speaker = .some(try container.decodeIfPresent(String.self, forKey: .speaker))
            } else {
                speaker = nil
            }
            let name = JSON.name(decoder.codingPath)
            guard text != nil || container.contains(.speaker) else {
                throw Problem.invalid(name, "needs a text or a speaker.", .missing)
            }
            guard text?.utf8.contains(0) != true else {
                throw Problem.invalid("\(name).text", "cannot hold a NUL character.")
            }
            if case .some(.some(let speaker)) = speaker {
                guard 1...SegmentCorrection.maximumSpeakerLength ~= speaker.unicodeScalars.count,
                    !speaker.utf8.contains(0)
                else {
                    throw Problem.invalid(
                        "\(name).speaker",
                        "has to have 1 to \(SegmentCorrection.maximumSpeakerLength) characters, without NUL.")
                }
            }
        }
    }

    /// The corrections, if each is about another segment of the transcript.
    ///
    /// - Parameter count: The number of segments that the transcript has.
    /// - Returns: The corrections, in the order of the body.
    /// - Throws: 422, with the name of the index.
    func corrections(of count: Int) throws(Problem) -> [SegmentCorrection] {
        var known: Set<Int> = []
        var corrections: [SegmentCorrection] = []
        for (place, segment) in segments.enumerated() {
            let (index, name) = (segment.index.value, "segments[\(place)].index")
            guard (0..<count).contains(index) else {
                throw .invalid(name, "is not the index of a segment. The transcript has \(count).")
            }
            guard known.insert(index).inserted else { throw .invalid(name, "comes twice.", .repeated) }
            corrections.append(SegmentCorrection(index: index, text: segment.text, speaker: segment.speaker))
        }
        return corrections
    }
}
