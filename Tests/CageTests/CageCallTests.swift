import CCage
import Cage
import Foundation
import TestSupport
import Testing

/// System calls that lead past the other layers of a cage.
@Suite("System calls in a cage", .deadline) struct CageCallTests {
    /// Each datagram may name another receiver, and the kernel makes datagrams of raw sockets of this family.
    @Test("A pair of sockets is connected, and no socket of a pair can reach another one", arguments: CageCase.all)
    func pairs(each: CageCase) async throws {
        try await CageScene.with { scene in
            // SOCK_STREAM, SOCK_SEQPACKET; SOCK_DGRAM, SOCK_RAW, SOCK_RDM.
            let allowed = try await each.cage.run(scene.inspector(["pair", "1", "pair", "5"]))
            #expect(allowed.outcomes(of: "pair") == ["ok", "ok"], "\(allowed)")
            let refused = try await each.cage.run(scene.inspector(["pair", "2", "pair", "3", "pair", "4"]))
            #expect(refused.outcomes(of: "pair") == ["EACCES", "EACCES", "EACCES"], "\(refused)")
        }
    }

    @Test("A stage with a network reads routes, and no other family of netlink", arguments: CageCase.all)
    func netlink(each: CageCase) async throws {
        try await CageScene.with { scene in
            // NETLINK_ROUTE; sockets, IPsec, SELinux, audit, netfilter, devices, generic.
            let families = [0, 4, 6, 7, 9, 12, 15, 16]
            var command = scene.inspector(families.flatMap { ["netlink", "\($0)"] })
            command.hasNetwork = true
            let open = try await each.cage.run(command)
            #expect(open.outcomes(of: "netlink") == ["ok"] + families.dropFirst().map { _ in "EACCES" }, "\(open)")
            command.hasNetwork = false
            let closed = try await each.cage.run(command)
            #expect(closed.outcomes(of: "netlink") == families.map { _ in "EACCES" }, "\(closed)")
        }
    }

    @Test("No stage opens a raw socket, or one of a family beside IPv4, IPv6 and netlink", arguments: CageCase.all)
    func families(each: CageCase) async throws {
        try await CageScene.with { scene in
            // AF_UNIX, AF_PACKET, AF_BLUETOOTH, AF_ALG, AF_VSOCK, AF_XDP.
            let others = [1, 17, 31, 38, 40, 44]
            var command = scene.inspector((others + [2, 10]).flatMap { ["socket", "\($0)"] })
            let closed = try await each.cage.run(command)
            #expect(closed.outcomes(of: "socket").allSatisfy { $0 == "EACCES" }, "\(closed)")
            command.hasNetwork = true
            let open = try await each.cage.run(command)
            #expect(open.outcomes(of: "socket").dropLast(2).allSatisfy { $0 == "EACCES" }, "\(open)")
            // The kernel gives raw sockets of IPv4 and IPv6 only to a process with CAP_NET_RAW.
            #expect(open.outcomes(of: "socket").suffix(2).allSatisfy { $0 != "ok" }, "\(open)")
            #expect(open.outcomes(of: "socket").count == others.count + 2)
        }
    }

    /// The pages of such memory are in no address space.
    @Test("A program with a limit of memory gets no memory beside it", arguments: CageCase.all)
    func memory(each: CageCase) async throws {
        try await CageScene.with { scene in
            let limited = try await each.cage.run(scene.inspector(["memory", "4096"], addressSpace: 1 << 30))
            #expect(limited.outcomes(of: "memory") == ["ENOSYS"], "\(limited)")
            #expect(limited.outcomes(of: "secret memory") == ["EPERM"], "\(limited)")
            // A site's own stage without a limit of memory has nothing to get around.
            let unlimited = try await each.cage.run(scene.inspector(["memory", "4096"]))
            #expect(unlimited.outcomes(of: "memory") == ["ok"], "\(unlimited)")
            #expect(unlimited.outcomes(of: "secret memory") == ["EPERM"], "\(unlimited)")
        }
    }

    @Test("No stage has rings of asynchronous input and output", arguments: CageCase.all)
    func rings(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.inspector(["rings", ""]))
            #expect(run.outcomes(of: "rings") == ["ENOSYS", "ENOSYS"], "\(run)")
        }
    }

    /// libdispatch ends a process that cannot open `/proc/TID/stat`, and Landlock grants no such folder.
    @Test("The libraries of this program open files by its own open")
    func opensByItself() throws {
        let library = try #require(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD))
        #expect(dlsym(nil, "open") != dlsym(library, "open"))
        // A thread that is gone, and one that never was, run as far as libdispatch knows.
        let descriptor = open("/proc/999999999/stat", O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor, &bytes, bytes.count)
        #expect(String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self).hasPrefix("1 (thread) R "))
        #expect(open("/proc/999999999/status", O_RDONLY) == -1)
        #expect(errno == ENOENT)
    }
}
