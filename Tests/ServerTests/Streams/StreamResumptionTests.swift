import Domain
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "Order and resumption": how a client resumes.
@Suite(.deadline) struct StreamResumptionTests {
    /// Reports up to `extracting_notes` 70: transitions at the versions 2, 3, 6 and 7, and now 8.
    private func advance(_ scene: StreamScene) async throws {
        try await scene.report(.preprocessing, 20)
        try await scene.report(.transcribing, 20)
        try await scene.report(.transcribing, 30)
        try await scene.report(.transcribing, 40)
        try await scene.report(.transcribed, 60)
        try await scene.report(.extractingNotes, 60)
        try await scene.report(.extractingNotes, 70)
    }

    @Test(
        "A stream resumes with each transition after the version, and then the present state",
        arguments: [(1, [2, 3, 6, 7, 8]), (2, [3, 6, 7, 8]), (4, [6, 7, 8]), (7, [8]), (8, [8])])
    func replay(after version: Int, expected: [Int]) async throws {
        try await withStreamScene { scene in
            try await advance(scene)
            try await scene.withStream(lastEventID: String(version)) { reader in
                let events = try await reader.events(upTo: 8)
                #expect(events.compactMap(\.version) == expected)
                #expect(events.allSatisfy { $0.event == "progress" })
                #expect(events.last?.progress == 70)
                try expectInOrder(events)
                // The stream then goes on.
                try await scene.report(.processed, 100)
                #expect(try await reader.next("complete").version == 9)
            }
        }
    }

    @Test("A session that has finished since is replayed to its end")
    func replayToTheEnd() async throws {
        try await withStreamScene { scene in
            try await advance(scene)
            try await scene.report(.processed, 100)
            try await scene.withStream(lastEventID: "4") { reader in
                let events = try await reader.rest()
                #expect(events.compactMap(\.version) == [6, 7, 9])
                #expect(events.map(\.event) == ["progress", "progress", "complete"])
            }
        }
    }

    @Test("The query parameter resumes a stream too, and the header wins")
    func query() async throws {
        try await withStreamScene { scene in
            try await advance(scene)
            let byQuery = try await scene.withStream(query: "?last_event_id=6") { try await $0.events(upTo: 8) }
            #expect(byQuery.compactMap(\.version) == [7, 8])
            let byBoth = try await scene.withStream(query: "?last_event_id=1", lastEventID: "6") {
                try await $0.events(upTo: 8)
            }
            #expect(byBoth.compactMap(\.version) == [7, 8])
        }
    }

    @Test("A failure that was retried since is replayed as progress and does not end the stream")
    func retriedFailure() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 30)
            try await scene.report(.failed, 30, error: "No speech.")
            try await scene.retry()
            try await scene.withStream(lastEventID: "1") { reader in
                let events = try await reader.events(upTo: 4)
                #expect(events.map(\.status) == ["transcribing", "failed", "pending"])
                #expect(events.allSatisfy { $0.event == "progress" })
                #expect(try events[1].json()["error"] as? String == "No speech.")
                #expect(try events[2].json()["attempt"] as? Int == 2)
                try expectInOrder(events)
                try await scene.report(.transcribing, 20)
                #expect(try await reader.next("progress").status == "transcribing")
            }
        }
    }

    @Test("A client that has the end of a finished session gets 204, by header or query", arguments: [true, false])
    func noContent(succeeds: Bool) async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 20)
            try await scene.report(.failed, 20, error: "No speech.")
            if succeeds {
                try await scene.retry()
                try await scene.report(.transcribing, 20)
                try await scene.report(.transcribed, 60)
                try await scene.report(.processed, 100)
            }
            let last = succeeds ? "7" : "3"
            let byHeader = try await scene.server.request(
                .GET, scene.path, token: scene.token, headers: ["Last-Event-ID": last])
            #expect(byHeader.status == 204)
            #expect(byHeader.body.isEmpty)
            let byQuery = try await scene.server.request(
                .GET, scene.path + "?last_event_id=\(last)", token: scene.token)
            #expect(byQuery.status == 204)
            // A client without the end gets it.
            try await scene.withStream(lastEventID: "2") { reader in
                #expect(reader.status == 200)
                let last = try await reader.rest().last
                #expect(last?.event == (succeeds ? "complete" : "error"))
            }
        }
    }

    @Test(
        "An id that is not a number, or is above the present version, is ignored",
        arguments: [
            "", "abc", "7abc", "-1", "0", "+1", "1.0", "1e0", "0x1", "9", "999", "9223372036854775807",
            "9223372036854775808", "99999999999999999999999", "1,2", "null", "\"1\"",
        ])
    func unusable(id: String) async throws {
        try await withStreamScene { scene in
            try await advance(scene)
            let first = try await scene.withStream(lastEventID: id) { try await $0.next("progress") }
            #expect(first.version == 8)
        }
    }

    @Test("A finished session sends its end, not 204, to a client with an unusable id", arguments: ["99", "x"])
    func unusableOnFinished(id: String) async throws {
        try await withStreamScene { scene in
            try await scene.report(.failed, 0, error: "No speech.")
            try await scene.withStream(lastEventID: id) { reader in
                #expect(reader.status == 200)
                let event = try await reader.next("error")
                #expect(event.version == 2)
            }
        }
    }
}
