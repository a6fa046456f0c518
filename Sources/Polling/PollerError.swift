import Glibc

/// A system call of the poller that failed.
public struct PollerError: Error, CustomStringConvertible, Sendable {
    /// The name of the system call.
    public let call: String

    /// The value of `errno`.
    public let code: CInt

    /// The call and the system's text for its error.
    public var description: String { unsafe "\(call): \(String(cString: strerror(code)))" }

    init(call: String) {
        self.call = call
        self.code = errno
    }
}
