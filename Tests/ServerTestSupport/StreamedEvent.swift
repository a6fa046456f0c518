import Foundation

/// One block of an event stream.
public struct StreamedEvent: Sendable, Equatable {
    /// The value of `id:`.
    public var id: String?
    /// The value of `event:`.
    public var event: String?
    /// The value of `data:`.
    public var data: String?
    /// The milliseconds of `retry:`.
    public var retry: Int?
    /// The text of a comment, such as a heartbeat.
    public var comment: String?

    /// The data as a JSON object.
    public func json() throws -> [String: any Sendable] {
        try JSONSerialization.jsonObject(with: Data((data ?? "{}").utf8)) as? [String: any Sendable] ?? [:]
    }

    /// The status in the data.
    public var status: String? { (try? json())?["status"] as? String }
    /// The percentage in the data.
    public var progress: Int? { (try? json())?["progress"] as? Int }
    /// The version in the data.
    public var version: Int? { (try? json())?["version"] as? Int }

    init(block: Substring) {
        for line in block.split(separator: "\n") {
            let colon = line.firstIndex(of: ":") ?? line.endIndex
            let value = line[colon...].dropFirst().drop { $0 == " " }
            switch line[..<colon] {
            case "": comment = String(value)
            case "id": id = String(value)
            case "event": event = String(value)
            case "data": data = String(value)
            case "retry": retry = Int(value)
            default: break
            }
        }
    }
}
