import Synchronization

/// What a stage has said so far: read while it runs, and kept when its time is up.
final class StageTrace: Sendable {
    private struct State {
        var errorTail = OutputTail()
        var foreignLines = ForeignLines()
        var byteCount = 0
        var news = StageUpdate()
        var hasDroppedSegments = false
        /// True from the notice of a silence to the next byte.
        var isSilent = false

        /// Notes bytes of either output.
        mutating func note(bytes count: Int) {
            byteCount += count
            guard isSilent, count > 0 else { return }
            isSilent = false
            news.silence = .ended
        }
    }

    /// How many segments wait for a slow callback.
    ///
    /// It is more than ten hours of speech. After that, the callback gets no more segments, and the result has them all.
    static let segmentLimit = 20_000

    private let state = Mutex(State())

    /// The end of standard error.
    var errorTail: OutputTail { state.withLock(\.errorTail) }
    /// The lines of standard output that were passed over.
    var foreignLines: ForeignLines { state.withLock(\.foreignLines) }
    /// How many bytes the stage has printed.
    var byteCount: Int { state.withLock(\.byteCount) }

    /// Notes bytes of standard error.
    ///
    /// - Returns: True if there is news: a silence has ended.
    func note(error bytes: [UInt8]) -> Bool {
        state.withLock { state in
            state.errorTail.append(bytes)
            state.note(bytes: bytes.count)
            return !state.news.isEmpty
        }
    }

    /// Notes that the stage has printed nothing for a while.
    ///
    /// - Parameters:
    ///   - duration: How long the stage has printed nothing.
    ///   - seen: The number of bytes that the stage had printed when the silence began.
    /// - Returns: False if the stage has printed something meanwhile.
    func noteSilence(of duration: Duration, since seen: Int) -> Bool {
        state.withLock { state in
            guard state.byteCount == seen else { return false }
            state.isSilent = true
            state.news.silence = .began(duration)
            return true
        }
    }

    /// Notes bytes of standard output, and what they meant.
    ///
    /// - Returns: True if there is news.
    func note(output count: Int, foreign: ForeignLines, news: StageUpdate) -> Bool {
        state.withLock { state in
            state.note(bytes: count)
            state.foreignLines = foreign
            state.news.progress = news.progress ?? state.news.progress
            if state.news.segments.count + news.segments.count > Self.segmentLimit { state.hasDroppedSegments = true }
            if !state.hasDroppedSegments { state.news.segments += news.segments }
            return !state.news.isEmpty
        }
    }

    /// Takes the news since the last call.
    func takeNews() -> StageUpdate {
        state.withLock { state in
            defer { state.news = StageUpdate() }
            return state.news
        }
    }
}
