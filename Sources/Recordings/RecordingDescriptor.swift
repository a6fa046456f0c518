import Glibc
import NIOCore
import NIOFileSystem
import NIOPosix

/// One open file of a recording.
///
/// The same descriptor serves for the check and for every read. A file that replaces this one later is never read. The
/// descriptor closes with the last reference.
final class RecordingDescriptor: Sendable {
    /// The size of the file in bytes.
    let size: Int64
    private let descriptor: CInt

    /// Opens a regular file, but follows no link to it; nil if the file is missing.
    ///
    /// - Parameter path: The path of the file. The server's Unix user alone may change its folder.
    /// - Throws: ``RecordingError/Code/damaged`` if it is a link, a pipe or anything else than a file; `Errno`.
    init?(path: FilePath) async throws {
        let opened = try await NIOThreadPool.singleton.runIfActive { try Self.open(path.string) }
        guard let opened else { return nil }
        (descriptor, size) = opened
    }

    deinit { close(descriptor) }

    /// Reads bytes at an offset: as many as asked for, or fewer at the end of the file.
    ///
    /// - Throws: `Errno`.
    func read(_ count: Int, at offset: Int64) async throws -> ByteBuffer {
        try await NIOThreadPool.singleton.runIfActive { try self.readNow(count, at: offset) }
    }

    private func readNow(_ count: Int, at offset: Int64) throws -> ByteBuffer {
        var bytes = ByteBuffer()
        var failure: CInt?
        var isAtEnd = false
        while bytes.readableBytes < count, !isAtEnd {
            let missing = count - bytes.readableBytes
            let position = offset + Int64(bytes.readableBytes)
            bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: missing) { room in
                let read = pread(descriptor, room.baseAddress, missing, off_t(position))
                isAtEnd = read == 0
                if read < 0, errno != EINTR { failure = errno }
                return max(read, 0)
            }
            if let failure { throw Errno(rawValue: failure) }
        }
        return bytes
    }

    private static func open(_ path: String) throws -> (CInt, Int64)? {
        // Without O_NONBLOCK, opening a pipe would wait for its other end.
        let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            switch errno {
            case ENOENT: return nil
            // open(2), O_NOFOLLOW: "If the trailing component (i.e., basename) of path is a symbolic link, then the open
            // fails, with the error ELOOP."
            case ELOOP: throw RecordingError(.damaged)
            case let number: throw Errno(rawValue: number)
            }
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw RecordingError(.damaged)
        }
        return (descriptor, Int64(status.st_size))
    }
}
