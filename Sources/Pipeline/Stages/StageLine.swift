import Domain
import FoundationEssentials
import JSONScanning

/// One line of a stage's standard output, read.
///
/// docs/pipeline.md, "Stages", has the members of a line.
enum StageLine: Equatable {
    /// Only blanks.
    case blank
    /// The result, as valid JSON.
    case result(String)
    /// Progress, a segment, the reason of a failure, or several of them.
    case news(StageProgress?, TranscriptSegment?, error: String?)
    /// Not for the worker.
    case foreign(ForeignLines.Kind)

    /// The limit of a line without a result, in bytes.
    static let limit = 64 * 1_024

    /// Reads a line.
    ///
    /// - Parameters:
    ///   - bytes: The line without its end.
    ///   - followsReturn: True if the line follows a carriage return. Then it may begin with the bar that a program such
    ///     as tqdm has drawn there.
    ///   - secrets: The values that messages, segments, reasons and results must not show. They are hidden in the text as
    ///     the stage wrote it: in a text that is cut or made one line, a value may be changed and no longer be found.
    init(_ bytes: [UInt8], followsReturn: Bool, hiding secrets: SecretValues) {
        guard !bytes.allSatisfy(Self.isBlank) else {
            self = .blank
            return
        }
        guard let object = Self.object(in: bytes, followsReturn: followsReturn) else {
            self = .foreign(Self.kindOfOther(bytes))
            return
        }
        let text = object == bytes.indices ? bytes : Array(bytes[object])
        do throws(JSONSlices.Fault) {
            self.init(text, try JSONSlices.members(of: text), hiding: secrets)
        } catch .badEscape where !Self.isMeantAsResult(text) {
            // A message with a NUL is worth a blank. A result is not changed: its end may be missing, too.
            let mended = Self.mended(text)
            if let members = try? JSONSlices.members(of: mended) {
                self.init(mended, members, hiding: secrets)
            } else {
                self = .foreign(.badEscape)
            }
        } catch {
            self = .foreign(Self.kind(of: error, in: text))
        }
    }

    /// Reads the members of an object.
    private init(_ text: [UInt8], _ members: [JSONSlices.Member], hiding secrets: SecretValues) {
        if let result = members.last(where: { $0.key == "result" }) {
            self = .result(secrets.hidden(inJSON: text[result.value]))
            return
        }
        guard text.count <= Self.limit else {
            self = .foreign(.tooLong)
            return
        }
        let values = Dictionary(members.map { ($0.key, Data(text[$0.value])) }) { $1 }
        let progress = Self.progress(in: values, hiding: secrets)
        let segment = values["segment"].flatMap { try? JSONDecoder().decode(TranscriptSegment.self, from: $0) }
            .flatMap { $0.isPossible ? $0.hiding(secrets) : nil }
        let error = values["error"].flatMap(Self.text).map(secrets.hidden(in:))
        self =
            progress == nil && segment == nil && error == nil
            ? .foreign(.unknown) : .news(progress, segment, error: error)
    }

    /// Reads the progress in an object; nil if it has no valid `progress`.
    private static func progress(in values: [String: Data], hiding secrets: SecretValues) -> StageProgress? {
        guard let percent = values["progress"].flatMap(number) else { return nil }
        let remaining = values["estimated_time_remaining"].flatMap(number)
        return StageProgress(
            progress: Int(min(max(percent, 0), 100)),
            message: values["message"].flatMap(text).map(secrets.hidden(in:))?.oneLine,
            estimatedTimeRemaining: remaining.map { Int(min(max($0, 0), 10_000_000)) })
    }

    private static func text(_ value: Data) -> String? { try? JSONDecoder().decode(String.self, from: value) }

    /// Reads a finite number, also one in quotes.
    private static func number(_ value: Data) -> Double? {
        let number =
            (try? JSONDecoder().decode(Double.self, from: value))
            ?? text(value).flatMap(Double.init)
        return number.flatMap { $0.isFinite ? $0 : nil }
    }

    // MARK: - Around the object

    /// True if the line seems to be a result, whether or not it is one.
    static func isMeantAsResult(_ bytes: [UInt8]) -> Bool {
        bytes.prefix(256).firstRange(of: Array(#""result""#.utf8)) != nil
    }

    /// True if the line with these first bytes may go on to be an object.
    static func canBeObject(_ beginning: [UInt8], followsReturn: Bool) -> Bool {
        object(in: beginning, followsReturn: followsReturn) != nil
    }

    /// Finds the object in a line: without the blanks, byte order marks, colours and wipes around it.
    private static func object(in bytes: [UInt8], followsReturn: Bool) -> Range<Int>? {
        var rest = bytes[...]
        while let first = rest.first {
            // Half of a line end in UTF-16 is a NUL.
            if isBlank(first) || first == 0 {
                rest = rest.dropFirst()
            } else if rest.starts(with: [0xEF, 0xBB, 0xBF]) {
                rest = rest.dropFirst(3)
            } else if let length = controlSequence(at: rest) {
                rest = rest.dropFirst(length)
            } else {
                break
            }
        }
        if rest.first != UInt8(ascii: "{"), followsReturn {
            rest = rest[(rest.firstRange(of: Array(#"{""#.utf8))?.lowerBound ?? rest.endIndex)...]
        }
        guard rest.first == UInt8(ascii: "{") else { return nil }
        // A control sequence ends in a letter, and an object does not.
        while let last = rest.last, last != UInt8(ascii: "}") {
            if isBlank(last) {
                rest = rest.dropLast()
            } else if let escape = rest.suffix(36).lastIndex(of: 0x1B),
                controlSequence(at: rest[escape...]) == rest.endIndex - escape
            {
                rest = rest[..<escape]
            } else {
                break
            }
        }
        return rest.startIndex..<rest.endIndex
    }

    /// The length of the control sequence that begins the bytes, such as a colour or the wipe of a line, or nil.
    ///
    /// Source: ECMA-48, 5.4, "Control sequences".
    private static func controlSequence(at bytes: ArraySlice<UInt8>) -> Int? {
        guard bytes.starts(with: [0x1B, UInt8(ascii: "[")]) else { return nil }
        let end = bytes.dropFirst(2).prefix(32).firstIndex { !(0x20...0x3F).contains($0) }
        guard let end, Unicode.Scalar(bytes[end]).properties.isAlphabetic, bytes[end] < 0x80 else { return nil }
        return end + 1 - bytes.startIndex
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

    // MARK: - Kinds of foreign lines

    private static func kindOfOther(_ bytes: [UInt8]) -> ForeignLines.Kind {
        do throws(JSONSlices.Fault) {
            _ = try JSONSlices.members(of: bytes)
            return .notJSON
        } catch {
            return kind(of: error, in: bytes)
        }
    }

    private static func kind(of fault: JSONSlices.Fault, in text: [UInt8]) -> ForeignLines.Kind {
        switch fault {
        case .unexpected(let position):
            ["NaN", "Infinity", "nan", "inf"].contains { text[position...].starts(with: $0.utf8) }
                ? .notFinite : .notJSON
        case .truncated, .tooDeep, .notAnArray: .notJSON
        case .notAnObject: .notAnObject
        case .notUTF8: .notUTF8
        case .badEscape: .badEscape
        }
    }

    /// The text with a blank for each `\u0000`, and U+FFFD for each half of a surrogate pair.
    private static func mended(_ text: [UInt8]) -> [UInt8] {
        var mended = text
        var position = 0
        while position < mended.count {
            guard mended[position] == UInt8(ascii: "\\") else {
                position += 1
                continue
            }
            if let unit = unit(at: position, in: mended) {
                if unit == 0 {
                    mended.replaceSubrange(position..<(position + 6), with: [0x20])
                    continue
                }
                if (0xD800...0xDBFF).contains(unit),
                    (0xDC00...0xDFFF).contains(self.unit(at: position + 6, in: mended) ?? 0)
                {
                    position += 12
                    continue
                }
                if (0xD800...0xDFFF).contains(unit) {
                    mended.replaceSubrange(position..<(position + 6), with: "\u{FFFD}".utf8)
                    continue
                }
            }
            // The character after a backslash belongs to it.
            position += 2
        }
        return mended
    }

    /// The code unit of the escape `\uXXXX` at a position, or nil.
    private static func unit(at position: Int, in text: [UInt8]) -> UInt16? {
        guard position + 6 <= text.count, text[position] == UInt8(ascii: "\\"), text[position + 1] == UInt8(ascii: "u")
        else { return nil }
        return UInt16(String(decoding: text[(position + 2)..<(position + 6)], as: UTF8.self), radix: 16)
    }
}

extension TranscriptSegment {
    /// The segment without the secrets in its texts.
    fileprivate func hiding(_ secrets: SecretValues) -> TranscriptSegment {
        var segment = self
        segment.text = secrets.hidden(inWords: text)
        segment.speaker = speaker.map(secrets.hidden(inWords:))
        return segment
    }
}
