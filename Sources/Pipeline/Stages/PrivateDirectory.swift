import Foundation

/// A temporary directory that only this user may enter, and that is gone afterwards.
enum PrivateDirectory {
    /// Lends a new directory.
    ///
    /// - Parameters:
    ///   - prefix: how its name begins.
    ///   - parent: where it is made; by default `TMPDIR`, or `/tmp`.
    ///   - body: gets the directory's path, valid until it returns.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws, or the error of making the directory.
    static func with<T: Sendable>(
        prefix: String,
        in parent: String = FileManager.default.temporaryDirectory.path,
        _ body: (String) async throws -> T
    ) async throws -> T {
        let path = "\(parent)/\(prefix)-\(UUID().uuidString.lowercased())"
        // Made with its mode in one step: mkdir(2) fails when the name exists, so nobody can have put a directory there before.
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700]
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }
}
