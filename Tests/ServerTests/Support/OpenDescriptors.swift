import Foundation
import ServerTestSupport

extension TestServer {
    /// The number of this process's descriptors of connections to the server, which runs in the same process.
    ///
    /// Other tests open and close descriptors too, so their number in the process means nothing.
    func openDescriptors() throws -> Int {
        // The entry of this thread: if the main thread has ended, `/proc/self/fd` is empty.
        try FileManager.default.contentsOfDirectory(atPath: "/proc/thread-self/fd").compactMap { CInt($0) }
            .count { localPort(of: $0) == port && !isListening($0) }
    }
}

/// The local port of a socket; nil for any other descriptor.
private func localPort(of descriptor: CInt) -> Int? {
    // The port is at the same place in the addresses of IPv4 and IPv6.
    var address = sockaddr_in6()
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let status = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    let families = [sa_family_t(AF_INET), sa_family_t(AF_INET6)]
    return status == 0 && families.contains(address.sin6_family) ? Int(in_port_t(bigEndian: address.sin6_port)) : nil
}

private func isListening(_ descriptor: CInt) -> Bool {
    var isListening: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0 && isListening != 0
}
