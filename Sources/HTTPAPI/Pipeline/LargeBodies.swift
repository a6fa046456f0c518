import HTTPTypes
import Hummingbird
import Synchronization

/// Bounds the number of large bodies in memory.
///
/// A body of 64 MiB exists several times while the server checks it and the database stores it.
final class LargeBodies: Sendable {
    /// The maximum number of large bodies at once.
    static let maximum = 4
    /// A body up to this size in bytes is not large, and always has room.
    static let smallBytes = 1 << 20

    private let count = Mutex(0)

    /// Reads and uses the body of a request.
    ///
    /// - Returns: The value of `use`.
    /// - Throws: 503 if the body is large or has no declared length, and the maximum of others is in use; the error of
    ///   `use`.
    func admitting<Value>(_ request: Request, _ use: () async throws -> Value) async throws -> Value {
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length <= Self.smallBytes {
            return try await use()
        }
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
