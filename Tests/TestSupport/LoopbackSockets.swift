import Foundation
import Glibc

/// Opens a socket that listens on a free port of loopback.
///
/// - Returns: The socket, which the caller closes, and its port.
/// - Throws: `POSIXError`
public func listenOnLoopback() throws -> (descriptor: CInt, port: Int) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopbackAddress(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            bind(descriptor, generic, length) == 0 && listen(descriptor, 128) == 0
                ? getsockname(descriptor, generic, &length) : -1
        }
    }
    guard status == 0 else { throw POSIXError(.EADDRINUSE) }
    return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
}

func connectToLoopback(_ port: Int) throws -> CInt {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopbackAddress(port: port)
    let status = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard status == 0 else {
        close(descriptor)
        throw POSIXError(.ECONNREFUSED)
    }
    return descriptor
}

private func loopbackAddress(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
}

/// Counts the sockets of this process that are connected, or connecting, to a port on loopback.
///
/// Other tests run at the same time, and their sockets do not count.
///
/// - Parameter port: The port.
/// - Returns: The number of sockets.
/// - Throws: An error of the file system.
public func openSockets(toPort port: Int) throws -> Int {
    let suffix = String(format: ":%04X", port)
    // A file of `/proc` has no size and comes in pieces, of which `String` reads the first one only.
    let handle = FileHandle(forReadingAtPath: "/proc/thread-self/net/tcp")
    var table = Data()
    while let piece = try? handle?.read(upToCount: 65_536), !piece.isEmpty { table += piece }
    let connected = Set(
        String(decoding: table, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line -> String? in
            let fields = line.split(separator: " ")
            return fields.count > 9 && fields[2].hasSuffix(suffix) ? "socket:[\(fields[9])]" : nil
        })
    return try openSockets().intersection(connected).count
}

/// The names of this process's open sockets, as in `socket:[4711]`.
///
/// The number of its descriptors means nothing while other tests run. The function reads the calling thread's entry in
/// `/proc`: the main thread of a test process may have ended, and its list of descriptors is then empty.
///
/// - Returns: The names.
/// - Throws: An error of the file system.
public func openSockets() throws -> Set<String> {
    let folder = "/proc/thread-self/fd"
    let names = try FileManager.default.contentsOfDirectory(atPath: folder)
    return Set(names.compactMap { try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)") })
}
