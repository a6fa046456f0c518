import Glibc

/// Finds a free TCP port on loopback.
///
/// - Returns: The port. Another program may take it before the caller does.
/// - Throws: ``LocalPostgresError`` when the system has no free port.
public func freePort() throws -> Int {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw LocalPostgresError(.start, "cannot make a socket: \(reason(errno))") }
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = unsafe withUnsafeMutablePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            unsafe bind(socket, generic, length) == 0 ? unsafe getsockname(socket, generic, &length) : -1
        }
    }
    guard status == 0 else { throw LocalPostgresError(.start, "no free port: \(reason(errno))") }
    return Int(UInt16(bigEndian: address.sin_port))
}
