public import Glibc

/// Reads and makes files with secrets, which only their owner may read.
public enum SecretFile {
    /// Reads a secret from a file.
    ///
    /// One descriptor serves for the check and for the reading. The file cannot be replaced in between.
    ///
    /// - Parameters:
    ///   - path: The path of the file. It may be a symbolic link.
    ///   - limit: The largest number of bytes.
    /// - Returns: The bytes of the file.
    /// - Throws: ``SecretFileError``.
    public static func read(_ path: String, limit: Int) throws(SecretFileError) -> [UInt8] {
        // Without O_NONBLOCK, opening a pipe would wait for its other end.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw SecretFileError(.unreadable, errno) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw SecretFileError(.unreadable, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SecretFileError(.notRegular) }
        guard status.st_mode & 0o077 == 0 else { throw SecretFileError(.shared) }
        // One byte more tells whether the file is longer.
        var contents = [UInt8](repeating: 0, count: limit + 1)
        var count = 0
        while count < contents.count {
            let read = unsafe contents.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            if read == 0 { break }
            if read > 0 {
                count += read
            } else if errno != EINTR {
                throw SecretFileError(.unreadable, errno)
            }
        }
        guard count <= limit else { throw SecretFileError(.tooLong) }
        return Array(contents.prefix(count))
    }

    /// Makes a file with a secret.
    ///
    /// The file has mode 0600 from its first moment, whatever the umask. No other process can open it in between.
    ///
    /// - Parameters:
    ///   - path: The path of the file, which must not exist.
    ///   - contents: The bytes.
    ///   - owner: The Unix user and group that get the file, or nil for those of this process.
    /// - Throws: ``SecretFileError``. No file stays behind, except one that was there before.
    public static func create(
        _ path: String, contents: some Sequence<UInt8>, owner: (user: uid_t, group: gid_t)? = nil
    ) throws(SecretFileError) {
        // open(2), O_EXCL: "if this flag is specified in conjunction with O_CREAT, and pathname already exists, then open()
        // fails with the error EEXIST. When these two flags are specified, symbolic links are not followed".
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SecretFileError(errno == EEXIST ? .exists : .unwritable, errno) }
        defer { close(descriptor) }
        do throws(SecretFileError) {
            try write(Array(contents), to: descriptor)
            if let owner, fchown(descriptor, owner.user, owner.group) != 0 { throw SecretFileError(.unwritable, errno) }
        } catch {
            unsafe unlink(path)
            throw error
        }
    }

    private static func write(_ contents: [UInt8], to descriptor: CInt) throws(SecretFileError) {
        var count = 0
        while count < contents.count {
            let written = unsafe contents.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            if written >= 0 {
                count += written
            } else if errno != EINTR {
                throw SecretFileError(.unwritable, errno)
            }
        }
        guard fsync(descriptor) == 0 else { throw SecretFileError(.unwritable, errno) }
    }
}

/// Why a file with a secret cannot be read or made.
public struct SecretFileError: Error, Equatable, CustomStringConvertible {
    /// The kinds of error.
    public enum Code: Sendable {
        /// The file is missing, or this process may not read it.
        case unreadable
        /// The path names a folder, a pipe or a device.
        case notRegular
        /// The mode lets others read or change the file.
        case shared
        /// The file is longer than any secret of its kind.
        case tooLong
        /// A file of this name exists.
        case exists
        /// The file cannot be written.
        case unwritable
    }

    /// The kind of the error.
    public let code: Code
    /// The number of the system's error, or 0 if no system call failed.
    public let systemError: CInt

    init(_ code: Code, _ systemError: CInt = 0) {
        self.code = code
        self.systemError = systemError
    }

    /// What is wrong with the file, as the end of a sentence that begins with the name of a setting.
    ///
    /// It names no path.
    public var description: String {
        switch code {
        case .unreadable: "cannot be read"
        case .notRegular: "is not a regular file"
        case .shared: "is a file that others may read or change; run: chmod 600 FILE"
        case .tooLong: "is too long for a secret"
        case .exists: "exists already"
        case .unwritable: "cannot be written"
        }
    }
}
