import HTTPTypes
import Hummingbird
import Polling
import Synchronization

/// Bounds the number of large bodies in memory.
///
/// A body of 64 MiB exists several times while the server checks it and the database stores it.
final class LargeBodies: Sendable {
    /// The maximum number of large bodies at once.
    static let maximum = 4
    /// A body up to this size in bytes is not large, and always has room.
    static let smallBytes = 1 << 20

    /// How fast a large body has to arrive, because it keeps others out.
    ///
    /// A body that stands still is ended like any other. This limit ends one that goes on too slowly.
    struct Pace: Sendable {
        /// How many bytes have to arrive in each ``time``.
        static let bytes = 1 << 20

        let time: Duration
        let clock: any MonotonicClock

        /// Begins to measure.
        ///
        /// - Returns: A function of the number of bytes so far. It throws 408 when they are too few.
        func start() -> (Int) throws -> Void {
            let start = clock.now
            return { received in
                guard start.duration(to: clock.now) <= time * (1 + received / Self.bytes) else {
                    throw Problem(.tooSlow, "A large body has to arrive faster.").closing()
                }
            }
        }
    }

    private let count = Mutex(0)

    /// True if the body of a request takes one of the places: it is large, or has no declared length.
    static func isLarge(_ request: Request) -> Bool {
        guard let length = request.headers[.contentLength].flatMap({ Int($0) }) else { return true }
        return length > smallBytes
    }

    /// Reads and uses the body of a request.
    ///
    /// - Returns: The value of `use`.
    /// - Throws: 503 if the body is large or has no declared length, and the maximum of others is in use; the error of
    ///   `use`.
    func admitting<Value>(_ request: Request, _ use: () async throws -> Value) async throws -> Value {
        guard Self.isLarge(request) else { return try await use() }
        let isAdmitted = count.withLock { count in
            guard count < Self.maximum else { return false }
            count += 1
            return true
        }
        guard isAdmitted else {
            throw Problem(.unavailable, "Too many large bodies at once. Try again in a moment.").closing()
        }
        defer { count.withLock { $0 -= 1 } }
        return try await use()
    }
}
