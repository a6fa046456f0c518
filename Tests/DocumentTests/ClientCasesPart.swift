import Foundation
import TestSupport

/// The cases that the clients pass against a server that misbehaves.
enum ClientCasesPart {
    private struct Table: Decodable {
        let cases: [Case]
    }

    private struct Case: Decodable {
        struct Upload: Decodable { let faults: [String] }

        struct Expectation: Decodable {
            let end: String
            let versions: [Int]?
            let events: [String]?
        }

        let does: String
        let connections: [[String]]?
        let upload: Upload?
        let expect: Expectation
    }

    static func text() throws -> String {
        let file = packageRoot.appending(path: "Tests/Clients/cases.json")
        let cases = try JSONDecoder().decode(Table.self, from: Data(contentsOf: file)).cases
        return table(
            ["the server", "its script", "the client delivers", "and ends with"],
            cases.map { one in
                let script = one.connections.map(words(ofConnections:)) ?? words(one.upload?.faults ?? [])
                let items = one.expect.events ?? one.expect.versions?.map(String.init) ?? []
                return [one.does, script, items.joined(separator: ", "), "`\(one.expect.end)`"]
            })
    }

    private static func words(ofConnections connections: [[String]]) -> String {
        connections.map(words).joined(separator: " | ")
    }

    private static func words(_ steps: [String]) -> String {
        steps.map { step in
            // The text of a raw step has line breaks.
            step.hasPrefix("raw ") ? "`raw …`" : "`\(step)`"
        }.joined(separator: ", ")
    }
}
