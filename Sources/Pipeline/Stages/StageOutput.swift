import Domain
import FoundationEssentials
import Glibc

/// Reads the standard output of a stage: progress, segments, results and reasons, between any other lines.
///
/// This is a value without I/O: it receives bytes and keeps the news until they are taken. It passes over lines that are
/// not for the worker, and counts them. It keeps at most one line, however much the stage prints without an end of line.
///
/// A line ends with a line feed or a carriage return: a program that draws a bar returns to the beginning of its line.
struct StageOutput {
    /// The limit of a line with a result, in bytes.
    ///
    /// The transcript of many hours has a few MiB.
    static let resultLimit = 64 * 1_024 * 1_024
    /// How many characters of a reason are shown.
    static let reasonLimit = 500

    /// The last result, or nil without one.
    private(set) var result: StageResult?
    /// The last line that was meant as a result and is none, or nil.
    private(set) var refusedResult: ForeignLines.Line?
    /// The words of the last line with an `error`, fit to show, or nil.
    private(set) var reason: String?
    /// The lines that were passed over.
    private(set) var foreignLines = ForeignLines()
    private var news = StageUpdate()

    private var line: [UInt8] = []
    private var lineNumber = 1
    /// True if a carriage return came before the present line.
    private var followsReturn = false
    /// True while the rest of a line is dropped.
    private var isDropping = false
    /// True if the present line is longer than ``StageLine/limit`` and may hold a result.
    private var isLongObject = false
    private let secrets: SecretValues
    private let resultLimit: Int

    /// Begins to read an output.
    ///
    /// - Parameters:
    ///   - secrets: The values that the reason, the messages, the segments and the result must not show.
    ///   - resultLimit: The limit of a line with a result, in bytes.
    init(hiding secrets: SecretValues = SecretValues(), resultLimit: Int = StageOutput.resultLimit) {
        self.secrets = secrets
        self.resultLimit = resultLimit
    }

    /// How many bytes of an unfinished line are kept.
    var keptByteCount: Int { line.count }

    /// Takes the newest progress, and all segments since the last call.
    mutating func takeNews() -> StageUpdate {
        defer { news = StageUpdate() }
        return news
    }

    /// Reads the next bytes.
    mutating func consume(_ bytes: ArraySlice<UInt8>) {
        var rest = bytes
        while let end = rest.firstLineEnd {
            extend(with: rest[..<end])
            endLine()
            followsReturn = rest[end] == UInt8(ascii: "\r")
            if !followsReturn { lineNumber += 1 }
            rest = rest[(end + 1)...]
        }
        extend(with: rest)
    }

    /// Reads the last line, which may lack its end.
    mutating func finish() { endLine() }

    private mutating func extend(with bytes: ArraySlice<UInt8>) {
        guard !isDropping, !bytes.isEmpty else { return }
        line.append(contentsOf: bytes.prefix(resultLimit + 1 - line.count))
        if line.count > StageLine.limit, !isLongObject {
            isLongObject = StageLine.canBeObject(Array(line.prefix(StageLine.limit)), followsReturn: followsReturn)
        }
        if line.count > (isLongObject ? resultLimit : min(StageLine.limit, resultLimit)) { drop() }
    }

    /// Drops a line that is too long.
    private mutating func drop() {
        passOver(.tooLong)
        isDropping = true
        isLongObject = false
        line = []
    }

    private mutating func passOver(_ kind: ForeignLines.Kind) {
        let passed = ForeignLines.Line(number: lineNumber, kind: kind)
        foreignLines.add(passed)
        if StageLine.isMeantAsResult(line) { refusedResult = passed }
    }

    private mutating func endLine() {
        defer {
            // Keeps the capacity of a short line for the next line, but frees the capacity of a large result.
            line.removeAll(keepingCapacity: line.capacity <= StageLine.limit)
            isDropping = false
            isLongObject = false
        }
        guard !isDropping else { return }
        switch StageLine(line, followsReturn: followsReturn, hiding: secrets) {
        case .blank: break
        case .result(let json): result = StageResult(json: json)
        case .foreign(let kind): passOver(kind)
        case .news(let progress, let segment, let error):
            news.progress = progress ?? news.progress
            if let segment { news.segments.append(segment) }
            if let error { reason = Self.reason(error) }
        }
    }

    /// The words of an `error` that people may see, or nil if it has none.
    private static func reason(_ error: String) -> String? {
        let text = String(error.oneLine.drop { $0.isWhitespace }.prefix(reasonLimit))
        return text.isEmpty ? nil : text
    }
}

extension ArraySlice<UInt8> {
    /// The position of the first line feed or carriage return.
    fileprivate var firstLineEnd: Int? {
        withUnsafeBytes { bytes -> Int? in
            guard let base = bytes.baseAddress else { return nil }
            func first(_ byte: Character, in count: Int) -> Int? {
                memchr(base, Int32(byte.asciiValue ?? 0), count).map { base.distance(to: UnsafeRawPointer($0)) }
            }
            let feed = first("\n", in: bytes.count)
            return first("\r", in: feed ?? bytes.count) ?? feed
        }.map { startIndex + $0 }
    }
}
