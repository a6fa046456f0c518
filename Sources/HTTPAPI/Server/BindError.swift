import Foundation
import NIOCore

/// Why a server cannot accept connections where it was told to.
public struct BindError: Error {
    /// Which of the two servers.
    public enum Endpoint: Sendable {
        /// The one that browsers reach.
        case http
        /// The one for the metrics.
        case metrics
    }

    /// What can stand against listening.
    public enum Code: Sendable {
        /// The host is no name or address of this machine.
        case hostUnknown
        /// Another program has the port.
        case portTaken
        /// The account that the program runs under may not have the port.
        case portForbidden
    }

    /// Which server it is.
    public let endpoint: Endpoint
    /// What stands against it.
    public let code: Code

    /// Reads it out of what binding a socket throws; nil for what has another reason.
    ///
    /// The numbers are those of `bind(2)`.
    init?(_ error: any Error, of endpoint: Endpoint) {
        self.endpoint = endpoint
        switch error {
        case is SocketAddressError.UnknownHost: code = .hostUnknown
        case let error as IOError:
            switch error.errnoCode {
            case EADDRNOTAVAIL: code = .hostUnknown
            case EADDRINUSE: code = .portTaken
            case EACCES: code = .portForbidden
            default: return nil
            }
        default: return nil
        }
    }

    /// Runs a server, and says which one it was when it cannot listen.
    static func naming(_ endpoint: Endpoint, _ run: () async throws -> Void) async throws {
        do {
            try await run()
        } catch {
            throw BindError(error, of: endpoint) ?? error
        }
    }
}
