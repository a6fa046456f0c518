import FoundationEssentials
import JSONScanning

/// Reads the standard output of a stage line by line: progress, then one result, then nothing.
///
/// This is a value without I/O: it receives bytes and returns progress. docs/pipeline.md, "Stages", has the rules for
/// the lines. A stage that breaks the protocol fails at once. Otherwise a transcript could be cut without notice.
struct StageOutput {
    /// The state of the reader.
    private enum State {
        /// Reads lines. The line with the result leads to `finished`.
        case reading
        /// Has the result. Only blank lines may follow.
        case finished(StageResult)
    }

    /// Why the reader refuses a line.
    enum Fault: Error, Equatable {
        case notJSON(line: Int, JSONSlices.Fault)
        case lineTooLong(line: Int, limit: Int)
        case afterResult(line: Int)
    }

    /// The limit of a line in bytes.
    ///
    /// The transcript of many hours has a few MiB.
    static let resultLimit = 64 * 1_024 * 1_024
    /// The limit of a line without a result, in bytes.
    static let progressLimit = 64 * 1_024

    private var state = State.reading
    private var line: [UInt8] = []
    private var lineNumber = 1
    private let resultLimit: Int

    init(resultLimit: Int = StageOutput.resultLimit) {
        self.resultLimit = resultLimit
    }

    /// The result, or nil before its line.
    var result: StageResult? {
        if case .finished(let result) = state { result } else { nil }
    }

    /// Reads the next bytes.
    ///
    /// - Returns: The newest progress in them, or nil. Older progress in the same bytes is dropped.
    /// - Throws: The fault of the first bad line.
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

    /// Reads the last line, which may lack its newline.
    ///
    /// - Returns: The progress in it, or nil.
    /// - Throws: The fault of the line.
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
            // Keeps the capacity of a progress line for the next line, but frees the capacity of a large result.
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

    /// Reads the progress in an object; nil if it has no valid `progress`.
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
