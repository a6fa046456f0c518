import Dispatch
import FoundationEssentials
import Glibc
import Synchronization

/// Writes the lines of the log to standard error, and never makes a caller wait.
///
/// The reader of a pipe may stop reading. A write to a full pipe then waits for ever, and with it a request, or the thread of all
/// streams. A queue of its own waits instead. Lines beyond ``limit`` are dropped and counted.
final class LogWriter: Sendable {
    /// The writer of the process.
    static let shared = LogWriter(descriptor: STDERR_FILENO)

    /// The most bytes that wait to be written.
    static let limit = 4 << 20

    private struct State {
        var waiting: [UInt8] = []
        /// The bytes that wait, with those that are being written.
        var size = 0
        var isDraining = false
        /// Lines that were dropped since the last line about them.
        var dropped = 0
        var droppedInTotal = 0
        /// Makes the line about dropped lines.
        var noticeOfDropped: @Sendable (Int) -> [UInt8] = { Array("\($0) lines of the log were dropped\n".utf8) }
    }

    private let descriptor: CInt
    private let limit: Int
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "therapybridge.log")

    /// Makes a writer.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor to write to.
    ///   - limit: The most bytes that wait to be written.
    init(descriptor: CInt, limit: Int = LogWriter.limit) {
        self.descriptor = descriptor
        self.limit = limit
    }

    /// How many lines were dropped since the start of the process.
    var droppedLines: Int { state.withLock(\.droppedInTotal) }

    /// Sets how a line tells that lines were dropped.
    func noteDropped(by notice: @escaping @Sendable (Int) -> [UInt8]) {
        state.withLock { $0.noticeOfDropped = notice }
    }

    /// Writes a line soon, or drops it if too many wait.
    func write(_ line: [UInt8]) {
        let begins = state.withLock { state in
            guard state.size + line.count <= limit else {
                state.dropped += 1
                state.droppedInTotal += 1
                return false
            }
            state.waiting += line
            state.size += line.count
            defer { state.isDraining = true }
            return !state.isDraining
        }
        if begins { queue.async { self.drain() } }
    }

    /// Waits until all lines are written, for a limited time.
    ///
    /// - Parameter limit: The longest wait in seconds. At the end of the process, a reader that has stopped reading must not keep it alive.
    func flush(within limit: Double = 1) {
        let isDone = DispatchSemaphore(value: 0)
        queue.async { isDone.signal() }
        _ = isDone.wait(timeout: .now() + limit)
    }

    private func drain() {
        while true {
            let batch: [UInt8]? = state.withLock { state in
                if state.dropped > 0 {
                    state.waiting = state.noticeOfDropped(state.dropped) + state.waiting
                    state.dropped = 0
                }
                guard !state.waiting.isEmpty else {
                    state.isDraining = false
                    return nil
                }
                defer { state.waiting = [] }
                return state.waiting
            }
            guard let batch else { return }
            put(batch)
            state.withLock { $0.size = $0.waiting.count }
        }
    }

    /// Writes bytes.
    ///
    /// If the disk is full or the reader is gone, they are lost, and the service goes on.
    private func put(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let written = bytes.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress! + start, $0.count - start)
            }
            if written >= 0 {
                start += written
            } else if errno == EAGAIN {
                // Whoever started the program has made the descriptor non-blocking.
                var interest = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&interest, 1, -1)
            } else if errno != EINTR {
                return
            }
        }
    }
}
