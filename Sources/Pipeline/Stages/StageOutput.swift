import FoundationEssentials
import JSONScanning

/// What a stage prints on standard output, line by line: progress, then one result, then nothing.
///
/// A value: it receives bytes and returns what they mean. The rules for lines are in docs/pipeline.md, "Stages". A stage that breaks
/// the protocol fails early: that is better than a transcript that is silently cut.
struct StageOutput {
    /// Where it stands.
    private enum State {
        /// Lines are read; ends in `finished` at the line with the result.
        case reading
        /// The result is here; only blank lines may follow.
        case finished(StageResult)
    }

    /// Why a line is refused.
    enum Fault: Error, Equatable {
        case notJSON(line: Int, JSONSlices.Fault)
        case lineTooLong(line: Int, limit: Int)
        case afterResult(line: Int)
    }

    /// The longest line; a transcript of many hours has a few MiB.
    static let resultLimit = 64 * 1_024 * 1_024
    /// The longest line that is no result.
    static let progressLimit = 64 * 1_024

    private var state = State.reading
    private var line: [UInt8] = []
    private var lineNumber = 1
    private let resultLimit: Int

    init(resultLimit: Int = StageOutput.resultLimit) {
        self.resultLimit = resultLimit
    }

    /// The result, if its line has been read.
    var result: StageResult? {
        if case .finished(let result) = state { result } else { nil }
    }

    /// Takes the next bytes.
    ///
    /// - Returns: the newest progress among them, or nil; older ones in the same bytes are worth nothing by now.
    mutating func consume(_ bytes: ArraySlice<UInt8>) throws(Fault) -> StageProgress? {
        var newest: StageProgress?
        var rest = bytes
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            try extend(with: rest[..<end])
            newest = try endLine() ?? newest
            rest = rest[(end + 1)...]
        }
        try extend(with: rest)
        return newest
    }

    /// Standard output has ended; a last line without its newline counts.
    mutating func finish() throws(Fault) -> StageProgress? {
        try endLine()
    }

    private mutating func extend(with bytes: ArraySlice<UInt8>) throws(Fault) {
        guard line.count + bytes.count <= resultLimit else {
            throw .lineTooLong(line: lineNumber, limit: resultLimit)
        }
        line.append(contentsOf: bytes)
    }

    private mutating func endLine() throws(Fault) -> StageProgress? {
        defer {
            // The room of a progress line is kept for the next one, that of a large result is not.
            line.removeAll(keepingCapacity: line.capacity <= Self.progressLimit)
            lineNumber += 1
        }
        if line.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }) {
            return nil
        }
        if case .finished = state { throw .afterResult(line: lineNumber) }
        let members: [JSONSlices.Member]
        do throws(JSONSlices.Fault) {
            members = try JSONSlices.members(of: line)
        } catch {
            throw .notJSON(line: lineNumber, error)
        }
        if let result = members.last(where: { $0.key == "result" }) {
            state = .finished(StageResult(json: String(decoding: line[result.value], as: UTF8.self)))
            return nil
        }
        guard line.count <= Self.progressLimit else {
            throw .lineTooLong(line: lineNumber, limit: Self.progressLimit)
        }
        return progress(in: members)
    }

    /// The progress in an object, or nil when it holds none that can be understood.
    private func progress(in members: [JSONSlices.Member]) -> StageProgress? {
        var percent: Double?
        var message: String?
        var remaining: Double?
        for member in members {
            let value = Data(line[member.value])
            switch member.key {
            case "progress": percent = try? JSONDecoder().decode(Double.self, from: value)
            case "message": message = try? JSONDecoder().decode(String.self, from: value)
            case "estimated_time_remaining": remaining = try? JSONDecoder().decode(Double.self, from: value)
            default: break
            }
        }
        guard let percent else { return nil }
        return StageProgress(
            progress: Int(min(max(percent, 0), 100)),
            message: message,
            estimatedTimeRemaining: remaining.map { Int(min(max($0, 0), 10_000_000)) }
        )
    }
}
