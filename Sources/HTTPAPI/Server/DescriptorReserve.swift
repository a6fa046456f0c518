import FoundationEssentials
import Glibc

/// The descriptors that connections leave free for files, the database and the libraries.
///
/// Without a free descriptor, libdispatch ends the process: once a second it reads files of `/proc`, and stops the program if
/// it cannot.
enum DescriptorReserve {
    /// The size of the reserve, if it is not more than a quarter of what the process may have.
    private static let size: rlim_t = 64

    /// Returns true if the whole reserve is free.
    ///
    /// The kernel always takes the lowest free number, so that the number of a new descriptor tells.
    ///
    /// - Parameter descriptor: The newest descriptor.
    /// - Returns: False if the process may have few more.
    static func isFree(afterTaking descriptor: CInt) -> Bool {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return true }
        return rlim_t(descriptor) < limit.rlim_cur - min(size, limit.rlim_cur / 4)
    }

    /// Returns true if the whole reserve is free and one more descriptor, too.
    ///
    /// - Parameter descriptor: A descriptor, which the function duplicates for a moment.
    /// - Returns: False if the process may have few more.
    static func isFree(probing descriptor: CInt) -> Bool {
        let probe = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard probe >= 0 else { return false }
        defer { close(probe) }
        return isFree(afterTaking: probe)
    }
}
