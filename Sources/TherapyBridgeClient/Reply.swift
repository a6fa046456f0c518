#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// The answer to a request without a method of its own.
public struct Reply: Sendable {
    /// The status, from 200 to 299.
    public let status: Int
    /// The body, which is empty for a status such as 204.
    public let body: Data
    private let headers: [(name: String, value: String)]

    init(status: Int, headers: [(String, String)], body: Data) {
        self.status = status
        self.headers = headers.map { (name: $0, value: $1) }
        self.body = body
    }

    /// The first header of a name, in upper or lower case, or nil.
    public subscript(name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}
