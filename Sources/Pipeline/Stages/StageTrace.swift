import Synchronization

/// What a stage has said so far: read while it runs, and kept when its time is up.
final class StageTrace: Sendable {
    private struct State {
        var errorTail = OutputTail()
        var foreignLines = ForeignLines()
        var byteCount = 0
        var news = StageUpdate()
        var hasDroppedSegments = false
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
    func note(error bytes: [UInt8]) {
        state.withLock {
            $0.errorTail.append(bytes)
            $0.byteCount += bytes.count
        }
    }

    /// Notes bytes of standard output, and what they meant.
    ///
    /// - Returns: True if there is news.
    func note(output count: Int, foreign: ForeignLines, news: StageUpdate) -> Bool {
        state.withLock { state in
            state.byteCount += count
            state.foreignLines = foreign
            guard !news.isEmpty else { return false }
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
