// An example in Swift of docs/swift-client.md, from the imports on. A test compares both.

import Foundation
import TherapyBridgeClient

func nameSpeaker(_ speaker: String, of segment: Int, in session: String, by bridge: TherapyBridge) async throws {
    struct Segment: Encodable { let index: Int, speaker: String }
    let path = "/api/sessions/\(session)/transcript"
    guard let tag = try await bridge.request("GET", path)["ETag"] else { return }
    let body = try JSONEncoder().encode(["segments": [Segment(index: segment, speaker: speaker)]])
    try await bridge.request("PATCH", path, headers: ["If-Match": tag], json: body)
}
