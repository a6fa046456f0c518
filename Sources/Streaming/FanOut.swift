import Dispatch

/// Writes one frame to many sockets on all cores.
///
/// One write takes some microseconds in the kernel. One thread would need a tenth of a second for ten thousand streams.
enum FanOut {
    /// One write: the socket, and which bytes of the frame go to it.
    struct Job {
        let descriptor: CInt
        let range: Range<Int>
    }

    /// How many writes one thread does at a time.
    static let portion = 250

    /// Writes a frame and waits until all threads are done.
    ///
    /// The descriptors stay the reactor's: other threads use them during this call only. The reactor opens, closes and
    /// records nothing meanwhile.
    ///
    /// - Parameters:
    ///   - frame: The frame.
    ///   - jobs: The writes; nil for a stream that gets nothing.
    /// - Returns: How many bytes the kernel took, by the index of the job: 0 without a job, −1 if the connection is
    ///   broken.
    static func write(_ frame: Frame, _ jobs: [Job?]) -> [Int] {
        unsafe [Int](unsafeUninitializedCapacity: jobs.count) { buffer, count in
            count = jobs.count
            // One thread writes each element, and the caller reads it after all threads are done.
            nonisolated(unsafe) let taken = unsafe buffer
            let portions = (jobs.count + portion - 1) / portion
            DispatchQueue.concurrentPerform(iterations: portions) { number in
                for index in number * portion..<min((number + 1) * portion, jobs.count) {
                    unsafe taken[index] =
                        jobs[index].map { StreamSocket.write(frame, $0.range, to: $0.descriptor) ?? -1 } ?? 0
                }
            }
        }
    }
}
