import Foundation

/// Whether this process can become another Unix user who executes a program of this build.
///
/// Only root can become another user. A clone in a folder that is closed to others, as `/root` is, is out of their reach: a
/// test that acts as another user cannot run there.
///
/// - Parameter program: The path of the program.
/// - Returns: True if this process is root, and everybody may pass through the folders above the program.
public func anotherUserCanRun(_ program: String) -> Bool {
    guard geteuid() == 0 else { return false }
    var url = URL(filePath: program).resolvingSymlinksInPath()
    while true {
        let path = url.path(percentEncoded: false)
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        guard let mode = attributes?[.posixPermissions] as? Int, mode & 0o001 != 0 else { return false }
        if path == "/" { return true }
        url = url.deletingLastPathComponent()
    }
}
