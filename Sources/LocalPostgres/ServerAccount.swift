import FoundationEssentials
import Glibc
import SecretFiles

/// The Unix user of the server's programs.
///
/// `initdb` and `postgres` refuse to run as root. If this process is root, `setpriv` of util-linux runs them as
/// `postgres`, or as `nobody` if there is no such user. Otherwise they run as the user of this process.
struct ServerAccount {
    private let name: String
    private let userID: uid_t
    private let groupID: gid_t
    private let needsSwitch: Bool

    static func current() throws -> ServerAccount {
        guard geteuid() == 0 else {
            return ServerAccount(name: "", userID: geteuid(), groupID: getegid(), needsSwitch: false)
        }
        guard FileManager.default.isExecutableFile(atPath: setpriv) else {
            throw LocalPostgresError(
                .notInstalled, "PostgreSQL does not run as root, and \(setpriv) is missing; install util-linux")
        }
        for name in ["postgres", "nobody"] {
            if let entry = unsafe getpwnam(name) {
                return unsafe ServerAccount(
                    name: name, userID: entry.pointee.pw_uid, groupID: entry.pointee.pw_gid, needsSwitch: true)
            }
        }
        throw LocalPostgresError(
            .notInstalled, "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to run it as")
    }

    private static let setpriv = "/usr/bin/setpriv"

    /// The words before a command that make it run under this account and let it reach `path`.
    ///
    /// Where the account cannot traverse a directory, such as a 0700 directory of root's, the command keeps the
    /// capability `CAP_DAC_OVERRIDE`, and no other.
    func prefix(toReach path: String) -> [String] {
        guard needsSwitch else { return [] }
        let capabilities =
            canTraverse(path) ? [] : ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
        return [Self.setpriv, "--reuid", name, "--regid", "\(groupID)", "--init-groups"] + capabilities + ["--"]
    }

    /// Makes a directory that only this account may enter.
    func makePrivateDirectory(_ path: String) throws {
        if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
            throw LocalPostgresError(.directory, "cannot make \(path): \(reason(errno))")
        }
        try own(path, mode: 0o700)
    }

    /// Writes a secret to a new file that only this account may read.
    ///
    /// The file replaces one that an interrupted start has left.
    func writeSecret(_ secret: String, to path: String) throws {
        unsafe unlink(path)
        do {
            try SecretFile.create(
                path, contents: secret.utf8, owner: needsSwitch ? (user: userID, group: groupID) : nil)
        } catch {
            throw LocalPostgresError(.directory, "cannot write \(path): \(reason(error.systemError))")
        }
    }

    /// Gives a file to this account alone.
    func own(_ path: String, mode: mode_t) throws {
        guard unsafe !needsSwitch || chown(path, userID, groupID) == 0 else {
            throw LocalPostgresError(.directory, "cannot give \(path) to \(name): \(reason(errno))")
        }
        guard unsafe chmod(path, mode) == 0 else {
            throw LocalPostgresError(.directory, "cannot set the mode of \(path): \(reason(errno))")
        }
    }

    /// Whether the classic permission bits let the account traverse all directories above `path`.
    private func canTraverse(_ path: String) -> Bool {
        var directory = parent(of: path)
        while true {
            var info = stat()
            guard unsafe stat(directory, &info) == 0 else { return false }
            let bit: mode_t = info.st_uid == userID ? 0o100 : info.st_gid == groupID ? 0o010 : 0o001
            guard info.st_mode & bit != 0 else { return false }
            if directory == "/" { return true }
            directory = parent(of: directory)
        }
    }
}
