import Foundation
import NIOCore

/// Why the server cannot accept connections where it was told to.
public enum ListenError: Error {
    /// The host is no name or address of this machine.
    case hostUnknown
    /// Another program has the port.
    case portTaken
    /// The account that the program runs under may not have the port.
    case portForbidden

    /// Reads it out of what binding a socket throws; nil for what has another reason.
    ///
    /// The numbers are those of `bind(2)`.
    init?(_ error: any Error) {
        switch error {
        case is SocketAddressError.UnknownHost: self = .hostUnknown
        case let error as IOError:
            switch error.errnoCode {
            case EADDRNOTAVAIL: self = .hostUnknown
            case EADDRINUSE: self = .portTaken
            case EACCES: self = .portForbidden
            default: return nil
            }
        default: return nil
        }
    }
}
