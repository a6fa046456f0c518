import Foundation

/// A folder of key files, as an operator makes them.
struct KeyFolder: Sendable {
    let url: URL

    /// Lends a folder, and removes it.
    static func with<Result>(_ body: (KeyFolder) async throws -> Result) async throws -> Result {
        try await withTemporaryFolder("keys") { try await body(KeyFolder(url: $0)) }
    }

    /// Writes a new key.
    ///
    /// - Returns: The path of its file.
    func key(_ name: String) throws -> String {
        let file = url.appending(path: name)
        let digits = (0..<32).map { _ in String(format: "%02x", UInt8.random(in: .min ... .max)) }.joined()
        try Data("\(digits)\n".utf8).write(to: file)
        let path = file.path(percentEncoded: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        return path
    }

    /// Makes a folder inside this one.
    ///
    /// - Returns: Its path.
    func folder(_ name: String) throws -> String {
        let path = url.appending(path: name).path(percentEncoded: false)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }
}
