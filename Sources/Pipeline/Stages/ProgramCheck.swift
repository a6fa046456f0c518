import Cage
import FoundationEssentials
import Glibc
import SystemPackage

/// The program of a site's stage, and whether it can be started.
public struct StageProgram: Sendable, Equatable {
    /// The setting that names the program.
    public let setting: String
    /// What is missing, for the operator: the program, or the one that its first line names; nil if nothing is.
    public let fault: String?
}

extension PipelineStages {
    /// Looks whether the programs of the stages can be started.
    ///
    /// It starts none. A program can therefore fail all the same, for example because a library is missing.
    ///
    /// - Returns: One program for each setting.
    public func programs() -> [StageProgram] {
        [transcribe, notes].compactMap(\.self).map { command in
            let program = command.programs[command.words.program] ?? command.words.program
            let check = ProgramCheck(account: command.cage.account, path: ProcessInfo.processInfo.environment["PATH"])
            return StageProgram(setting: command.setting, fault: check.fault(of: program))
        }
    }
}

/// Whether a Unix user may start a program.
struct ProgramCheck {
    /// The user, or nil for the user of this process.
    let account: CageAccount?
    /// The folders of programs without a slash in their names.
    let path: String?

    /// Why the program cannot be started, or nil.
    func fault(of program: String) -> String? {
        let file = Cage.path(of: program, in: path)
        if let fault = ownFault(of: file) { return "\"\(program)\" \(fault)" }
        guard let interpreter = Self.interpreter(of: file) else { return nil }
        return ownFault(of: interpreter).map {
            "\"\(interpreter)\", which the first line of \"\(program)\" names, \($0)"
        }
    }

    private func ownFault(of file: String) -> String? {
        var status = stat()
        guard stat(file, &status) == 0 else {
            return errno == EACCES ? "may not be reached by this account" : "is not there"
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return "is no file" }
        guard mayExecute(status) else { return "may not be executed by the account of the stages" }
        var folder = CageView.resolved(file)
        while folder != "/", !folder.isEmpty {
            folder = URL(filePath: folder).deletingLastPathComponent().standardizedFileURL.path(percentEncoded: false)
            if folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
            guard stat(folder, &status) == 0, mayExecute(status) else {
                return "lies in a folder that the account of the stages may not enter"
            }
        }
        return nil
    }

    /// Whether the mode lets the user execute a file, or enter a folder.
    ///
    /// Access control lists can allow more. They are rare on programs.
    private func mayExecute(_ status: stat) -> Bool {
        guard let account else {
            // Root of this process executes what anyone may.
            return geteuid() == 0
                ? status.st_mode & 0o111 != 0
                : mayExecute(
                    status, user: geteuid(), groups: [getegid()] + Self.ownGroups)
        }
        return mayExecute(status, user: account.user, groups: [account.group] + account.groups)
    }

    private func mayExecute(_ status: stat, user: uid_t, groups: [gid_t]) -> Bool {
        if status.st_uid == user { return status.st_mode & S_IXUSR != 0 }
        return status.st_mode & (groups.contains(status.st_gid) ? S_IXGRP : S_IXOTH) != 0
    }

    private static var ownGroups: [gid_t] {
        var groups = [gid_t](repeating: 0, count: 1_024)
        let count = getgroups(Int32(groups.count), &groups)
        return Array(groups.prefix(Int(max(count, 0))))
    }

    /// The program that the first line of a script names, or nil.
    ///
    /// Source: execve(2), "Interpreter scripts".
    private static func interpreter(of file: String) -> String? {
        guard let handle = try? FileDescriptor.open(FilePath(file), .readOnly, options: .closeOnExec) else {
            return nil
        }
        defer { try? handle.close() }
        var bytes = [UInt8](repeating: 0, count: 256)
        guard let count = try? bytes.withUnsafeMutableBytes({ try handle.read(into: $0) }) else { return nil }
        bytes.removeLast(bytes.count - count)
        guard bytes.starts(with: Array("#!".utf8)) else { return nil }
        let line = bytes.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
        return String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace).first.map(String.init)
    }
}
