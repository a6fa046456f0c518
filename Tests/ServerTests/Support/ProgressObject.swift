import Foundation
import ServerTestSupport
import Testing

/// A progress object that a client received.
struct ProgressObject: Sendable {
    /// The names of its members.
    static let members: Set<String> = [
        "session_id", "status", "progress", "message", "error", "estimated_time_remaining", "segments", "version",
        "attempt", "created_at", "updated_at",
    ]

    let text: String
    let version: Int
    let status: String
    let progress: Int
    let attempt: Int

    init(_ text: String) throws {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(Set(object.keys) == Self.members)
        self.text = text
        version = try #require(object["version"] as? Int)
        status = try #require(object["status"] as? String)
        progress = try #require(object["progress"] as? Int)
        attempt = try #require(object["attempt"] as? Int)
    }
}

/// Checks the order of the objects that one client received (docs/streams.md, "Order and resumption").
func expectInOrder(_ objects: [ProgressObject], sourceLocation: SourceLocation = #_sourceLocation) {
    for (one, next) in zip(objects, objects.dropFirst()) {
        #expect(next.version > one.version, "versions strictly increase", sourceLocation: sourceLocation)
        #expect(next.attempt >= one.attempt, sourceLocation: sourceLocation)
        #expect(
            next.attempt > one.attempt || next.progress >= one.progress, "progress falls",
            sourceLocation: sourceLocation)
    }
}

/// Checks the order of the events of one stream, and that each id is the version.
func expectInOrder(_ events: [StreamedEvent], sourceLocation: SourceLocation = #_sourceLocation) throws {
    let objects = try events.map { try ProgressObject($0.data ?? "") }
    #expect(events.map(\.id) == objects.map { String($0.version) }, sourceLocation: sourceLocation)
    expectInOrder(objects, sourceLocation: sourceLocation)
}
