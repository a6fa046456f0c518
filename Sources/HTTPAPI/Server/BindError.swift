import FoundationEssentials
import Glibc
import NIOCore
import Polling

/// Why a server cannot listen on its address.
public struct BindError: Error {
    /// The two servers.
    public enum Endpoint: Sendable {
        /// The server that browsers reach.
        case http
        /// The server for the metrics.
        case metrics
    }

    /// The causes.
    public enum Code: Sendable {
        /// The host is not a name or address of this machine.
        case hostUnknown
        /// Another program has the port.
        case portTaken
        /// The operating system does not let this account use the port.
        case portForbidden
    }

    /// The server that cannot listen.
    public let endpoint: Endpoint
    /// The cause.
    public let code: Code

    /// Reads the cause from the error of binding a socket; nil for any other error.
    ///
    /// The numbers are the errors of `bind(2)` and `socket(2)`.
    init?(_ error: any Error, of endpoint: Endpoint) {
        self.endpoint = endpoint
        let cause: Code? =
            switch error {
            case is SocketAddressError.UnknownHost: .hostUnknown
            case let error as IOError: Self.code(of: error.errnoCode)
            case let error as PollerError: Self.code(of: error.code)
            default: nil
            }
        guard let cause else { return nil }
        code = cause
    }

    private static func code(of errno: CInt) -> Code? {
        switch errno {
        case EADDRNOTAVAIL, EAFNOSUPPORT: .hostUnknown
        case EADDRINUSE: .portTaken
        case EACCES: .portForbidden
        default: nil
        }
    }

    /// Runs a server, and turns an error of binding its socket into a ``BindError`` that names it.
    static func naming(_ endpoint: Endpoint, _ run: () async throws -> Void) async throws {
        do {
            try await run()
        } catch {
            throw BindError(error, of: endpoint) ?? error
        }
    }
}
