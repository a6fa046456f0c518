import Glibc
import NIOFileSystem
import NIOPosix

/// The folder of the recordings cannot be used: why, and what the operator does about it.
///
/// No request is at fault. The server goes on as soon as the folder can be used again.
public struct StorageFault: Error, Sendable, CustomStringConvertible {
    /// What is wrong with the folder.
    public enum Code: String, Sendable, CaseIterable {
        /// The disk has no room, or this account has used up its quota.
        case full
        /// The folder is not there: it was removed, or its file system is not mounted.
        case missing
        /// This account may not read or write there.
        case forbidden
        /// The file system is mounted read-only.
        case readOnly
        /// The disk, or the file system of the network, fails.
        case failing
    }

    /// What is wrong with the folder.
    public let code: Code
    /// The path of the folder (`UPLOAD_DIR`), for the log alone.
    public let folder: String
    private let reason: Errno

    private init(_ code: Code, _ folder: FilePath, _ reason: Errno) {
        self.code = code
        self.folder = folder.string
        self.reason = reason
    }

    /// One line about the fault, without a path.
    public var description: String { "\(code.words) (\(reason))" }

    /// What the operator does.
    public var remedy: String {
        switch code {
        case .full: "free space on the disk of UPLOAD_DIR"
        case .missing: "mount the file system of UPLOAD_DIR, or put the folder back; no restart is needed"
        case .forbidden: "let the account of the server read and write UPLOAD_DIR and its files; no restart is needed"
        case .readOnly: "mount the file system of UPLOAD_DIR for writing; no restart is needed"
        case .failing: "see the kernel's log for the disk or the file server of UPLOAD_DIR; no restart is needed"
        }
    }

    /// The fault that an error of a system call means.
    ///
    /// - Parameter error: Any error.
    /// - Returns: The fault; nil if the error is not one of a folder or a disk. Without a look at the folder, `missing` may
    ///   mean a single file.
    public static func code(of error: any Error) -> Code? {
        number(of: error).flatMap { code($0) }
    }

    private static func number(of error: any Error) -> Errno? {
        switch error {
        case let error as Errno: error
        case let error as FileSystemError: (error.cause as? FileSystemError.SystemCallError)?.errno
        default: nil
        }
    }

    private static func code(_ number: Errno) -> Code? {
        switch number.rawValue {
        case ENOSPC, EDQUOT: .full
        case ENOENT, ENOTDIR, ENODEV, ENXIO: .missing
        case EACCES, EPERM: .forbidden
        case EROFS: .readOnly
        // A file system of the network that is gone has several errors.
        case EIO, ESTALE, ENOTCONN, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH, ECONNABORTED, EREMOTEIO: .failing
        default: nil
        }
    }

    /// Finds out whether the folder is at fault for an error.
    ///
    /// - Parameters:
    ///   - error: The error of a call in the folder.
    ///   - folder: The folder.
    /// - Returns: The fault of the folder, or the same error.
    static func explaining(_ error: any Error, in folder: FilePath) async -> any Error {
        guard let number = number(of: error), let code = code(number) else { return error }
        // A single file may be missing: another request has removed it.
        if code == .missing, await fault(of: folder) == nil { return error }
        return StorageFault(code, folder, number)
    }

    /// Makes sure that a file is missing, and not its folder.
    ///
    /// - Parameter folder: The folder of the file.
    /// - Throws: ``StorageFault`` if the folder is not there.
    static func check(_ folder: FilePath) async throws {
        if let fault = await fault(of: folder) { throw fault }
    }

    /// The fault of a folder that is not there; nil in a cancelled task.
    private static func fault(of folder: FilePath) async -> StorageFault? {
        let number: Errno? = try? await NIOThreadPool.singleton.runIfActive {
            access(folder.string, F_OK) == 0 ? nil : Errno(rawValue: errno)
        }
        guard let number else { return nil }
        return StorageFault(code(number) ?? .failing, folder, number)
    }
}

extension StorageFault.Code {
    fileprivate var words: String {
        switch self {
        case .full: "the disk of the recordings is full"
        case .missing: "the folder of the recordings is missing"
        case .forbidden: "the account of the server may not use the folder of the recordings"
        case .readOnly: "the folder of the recordings is read-only"
        case .failing: "the disk of the recordings fails"
        }
    }
}
