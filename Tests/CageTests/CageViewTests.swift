import Foundation
import TestSupport
import Testing

@testable import Cage

/// Which files a view shows, and which it hides.
@Suite("The view of a cage", .deadline) struct CageViewTests {
    /// `MS_BIND` of mount(2), and `MNT_DETACH` of umount2(2).
    private static let bind: UInt = 4_096
    private static let detach: Int32 = 2

    private static func table(_ lines: String) -> MountTable { MountTable(Data(lines.utf8)) }

    /// A host that has its recordings on a file system of their own, and a part of it at other places.
    private static let host = table(
        #"""
        22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
        28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
        30 28 254:2 / /srv rw,relatime shared:2 master:1 - xfs /dev/vdb rw
        31 28 254:2 /uploads /mnt/a\040folder rw - xfs /dev/vdb rw
        32 28 254:2 / /backup ro - xfs /dev/vdb rw
        33 28 254:2 /uploads/2026 /var/lib/this-year rw - xfs /dev/vdb rw
        34 28 254:1 /srv /other rw - ext4 /dev/vda1 rw
        35 30 254:3 /parts /srv/uploads/parts rw - ext4 /dev/vdc rw
        36 28 254:3 / /disk rw - ext4 /dev/vdc rw
        37 28 0:55 / /chroot/proc rw - proc proc rw
        """#)

    @Test("A folder is found at every place where its file system is mounted")
    func findsEveryPlace() {
        #expect(
            Self.host.otherPaths(to: "/srv/uploads") == [
                "/backup/uploads", "/disk/parts", "/mnt/a folder", "/var/lib/this-year",
            ])
        #expect(
            Self.host.otherPaths(to: "/srv/uploads/2026/recording") == [
                "/backup/uploads/2026/recording", "/mnt/a folder/2026/recording", "/var/lib/this-year/recording",
            ])
        #expect(Self.host.otherPaths(to: "/etc/secret") == [])
        // The last mount at a path covers the earlier ones.
        #expect(Self.host.otherPaths(to: "/other/x") == ["/srv/x"])
        #expect(Self.host.processFolders == ["/proc", "/chroot/proc"])
    }

    @Test("Lines that are cut, and none, are no mounts", arguments: ["", "22 28 0:20 / /proc rw - ", "a b c d e f g"])
    func brokenLines(text: String) {
        #expect(Self.table(text).mounts.isEmpty)
    }

    /// Only root can mount.
    ///
    /// What it mounts here is gone with the test.
    @Test(
        "A recording is hidden where its folder is mounted a second time", .enabled(if: geteuid() == 0),
        arguments: CageCase.all)
    func hidesMounts(each: CageCase) async throws {
        try await CageScene.with { scene in
            let second = scene.path("beside/second")
            try FileManager.default.createDirectory(atPath: second, withIntermediateDirectories: false)
            try #require(mount(scene.path("uploads"), second, nil, Self.bind, nil) == 0)
            defer { umount2(second, Self.detach) }
            let isKept = try await CageInspection(of: each.cage, in: scene.path("beside")).isActive(.files)
            let run = try await each.cage.run(
                scene.stage(#"cat "$2/beside/second/other"; cat "$2/beside/library""#))
            #expect(run.output.contains("the words of uploads/other") == !isKept, "\(run)")
            #expect(run.output.contains("the words of beside/library"))
        }
    }

    @Test("A view that is too large does not start, and the reason names the folder")
    func isLimited() async throws {
        try await CageScene.with { scene in
            let many = scene.path("beside/many")
            try FileManager.default.createDirectory(atPath: many, withIntermediateDirectories: false)
            for number in 0...CageView.limit {
                let file = open("\(many)/\(number)", O_WRONLY | O_CREAT, 0o600)
                try #require(file >= 0)
                close(file)
            }
            var command = scene.stage("echo ran")
            command.view = .host(hiding: ["\(many)/0"])
            let fault = #expect(throws: CageFault.self) { try Cage().launch(command) }
            #expect(fault?.code == .viewTooLarge)
            #expect(fault?.description.contains("/beside/many/") == true, "\(fault?.description ?? "")")
        }
    }
}
