/// A correction of one segment of a final transcript.
public struct SegmentCorrection: Hashable, Sendable, Encodable {
    /// The greatest length of the name of a speaker, in Unicode scalars.
    public static let maximumSpeakerLength = 200

    /// The index of the segment, from 0.
    public var index: Int
    /// The new text; nil keeps the present one.
    public var text: String?
    /// The new name of the speaker; nil keeps the present one, and a nil inside removes it.
    public var speaker: String??

    /// A correction of the given members.
    public init(index: Int, text: String? = nil, speaker: String?? = nil) {
        self.index = index
        self.text = text
        self.speaker = speaker
    }

    private enum CodingKeys: String, CodingKey {
        case index, text, speaker
    }

    /// Encodes the members that change; a null removes the speaker.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(index, forKey: .index)
        try container.encodeIfPresent(text, forKey: .text)
        if let speaker { try container.encode(speaker, forKey: .speaker) }
    }
}
