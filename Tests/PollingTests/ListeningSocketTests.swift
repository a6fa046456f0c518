import Foundation
import Glibc
import TestSupport
import Testing

@testable import Polling

@Suite("The listening socket", .deadline) struct ListeningSocketTests {
    private func loopback(port: Int = 0) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private func loopback6(port: Int = 0) -> sockaddr_in6 {
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = in_port_t(port).bigEndian
        address.sin6_addr = in6addr_loopback
        return address
    }

    private func connect<Address>(_ family: CInt, to address: Address) throws -> CInt {
        let descriptor = socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = address
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard status == 0 else {
            close(descriptor)
            throw POSIXError(.ECONNREFUSED)
        }
        return descriptor
    }

    /// Accepts a connection, and checks that none waits before and after it.
    private func expectConnection(
        of socket: ListeningSocket, from peer: [UInt8], _ connect: () throws -> CInt
    ) throws {
        #expect(socket.accept() == .none)
        let client = try connect()
        defer { close(client) }
        guard case .connection(let descriptor, let address) = socket.accept() else {
            Issue.record("no connection")
            return
        }
        defer { close(descriptor) }
        #expect(address == peer)
        #expect(fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0)
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
        #expect(socket.accept() == .none)
    }

    @Test("It accepts connections of IPv4 and IPv6, with the address of the client")
    func accept() throws {
        let socket = try ListeningSocket(loopback())
        try expectConnection(of: socket, from: [127, 0, 0, 1]) {
            try connect(AF_INET, to: loopback(port: socket.port))
        }
        let socket6 = try ListeningSocket(loopback6())
        try expectConnection(of: socket6, from: Array(repeating: 0, count: 15) + [1]) {
            try connect(AF_INET6, to: loopback6(port: socket6.port))
        }
        socket.stop()
        #expect(socket.accept() == .none)
        #expect(throws: POSIXError.self) { try connect(AF_INET, to: loopback(port: socket.port)) }
    }

    @Test("A second socket on the port fails, even one that would share the port")
    func taken() throws {
        let first = try ListeningSocket(loopback())
        let error = #expect(throws: PollerError.self) { _ = try ListeningSocket(loopback(port: first.port)) }
        #expect(error?.code == EADDRINUSE)
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var isOn: CInt = 1
        #expect(
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &isOn, socklen_t(MemoryLayout<CInt>.size)) == 0)
        var address = loopback(port: first.port)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        let code = errno
        #expect(status == -1)
        #expect(code == EADDRINUSE)
    }
}
