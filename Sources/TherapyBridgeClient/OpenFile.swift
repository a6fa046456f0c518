import SystemPackage

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A file that is read in parts, and closed when nobody uses it any more.
final class OpenFile: Sendable {
    private let descriptor: FileDescriptor

    /// Opens the file for reading.
    init(_ file: URL) throws {
        descriptor = try FileDescriptor.open(FilePath(file.path), .readOnly, options: .closeOnExec)
    }

    deinit {
        try? descriptor.close()
    }

    /// The number of bytes.
    var length: Int {
        get throws { Int(try descriptor.seek(offset: 0, from: .end)) }
    }

    /// Reads up to `count` bytes; fewer only at the end of the file.
    func read(_ count: Int, at offset: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes { try descriptor.read(fromAbsoluteOffset: Int64(offset), into: $0) }
        bytes.removeLast(count - read)
        return bytes
    }
}
