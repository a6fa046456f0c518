public import Foundation
import Glibc

/// The path of the program that was built with the tests.
///
/// It is a copy for this process alone. A build that writes the program while the tests run would make each start of it fail
/// with ETXTBSY, or start another program than the tests were built with.
public let builtProgram: String = copiedPrograms + "/therapybridge"

/// The folder with all programs that were built with the tests.
///
/// A program of it fails to start while a build writes it. ``builtProgram`` does not.
public let buildFolder = URL(filePath: Bundle.main.executablePath ?? CommandLine.arguments[0])
    .deletingLastPathComponent()

/// The folder with the copies of this process: the program, and those that tests start beside it.
private let copiedPrograms: String = {
    let parent = FileManager.default.temporaryDirectory.path
    removeLeftOvers(in: parent)
    let folder = "\(parent)/\(copyPrefix)\(getpid())"
    let built = buildFolder.path(percentEncoded: false)
    do {
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
        for name in ["therapybridge", "without-layers", "libManyProcessors.so"] {
            try FileManager.default.copyItem(atPath: "\(built)/\(name)", toPath: "\(folder)/\(name)")
        }
    } catch {
        fatalError("cannot copy the built program: \(error)")
    }
    atexit { try? FileManager.default.removeItem(atPath: copiedPrograms) }
    return folder
}()

private let copyPrefix = "tb-program-"

/// Removes the copies of test processes that were killed.
private func removeLeftOvers(in parent: String) {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where name.hasPrefix(copyPrefix) {
        guard let process = Int32(name.dropFirst(copyPrefix.count)), kill(process, 0) != 0, errno == ESRCH else {
            continue
        }
        try? FileManager.default.removeItem(atPath: "\(parent)/\(name)")
    }
}
