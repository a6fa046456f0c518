import Foundation

/// A case of `Tests/Clients/cases.json`.
struct ClientCase: Decodable, Sendable {
    struct Options: Decodable, Sendable {
        var all: Bool?
        var watchdog: Double?
        var last_event_id: String?
    }

    struct Upload: Decodable, Sendable {
        let bytes, chunk: Int
    }

    struct Expectation: Decodable, Sendable {
        let end: String
        let versions: [Int]?
        let events, states, tokens, leaked: [String]?
        let last_event_ids, tags: [String?]?
        let gaps: [Int]?
        let refreshes, creations: Int?
        let message: String?
    }

    let name: String
    let options: Options?
    let transports: [String]?
    let upload: Upload?
    let callers: Int?
    let expect: Expectation

    static func all() throws -> [ClientCase] {
        struct Table: Decodable { let cases: [ClientCase] }
        let data = try Data(contentsOf: URL(filePath: MisbehavingServer.cases))
        return try JSONDecoder().decode(Table.self, from: data).cases
    }
}

/// What the server saw in one run of a case.
struct ServerLog: Decodable, Sendable {
    let last_event_ids, tokens, tags: [String?]
    let gaps: [Int]
    let refreshes, creations: Int
    /// The states that the server has sent, and the heartbeats that came to their turn.
    let sent, beats: Int
    /// The number of the connection that hangs, from 1; 0 if none has.
    let hanging: Int
    let leaked, unexpected: [String]
    let metadata: [String: String]?
    let digest: String?
}
