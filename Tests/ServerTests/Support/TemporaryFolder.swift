import Foundation

/// Lends an empty folder, and removes it with its content.
///
/// - Parameters:
///   - purpose: A part of the folder's name.
///   - body: The test.
/// - Returns: What the body returns.
/// - Throws: What the body throws, or the error of the file system.
func withTemporaryFolder<Result>(_ purpose: String, _ body: (URL) async throws -> Result) async throws -> Result {
    let url = FileManager.default.temporaryDirectory.appending(path: "tb-\(purpose)-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: url) }
    return try await body(url)
}
