import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

@testable import Recordings

@Suite("Interrupted resumable uploads", .deadline) struct ResumableInterruptionTests {
    /// Lends the setting of a key, or none.
    private func withKey(_ isSealed: Bool, _ body: @Sendable ([String: String]) async throws -> Void) async throws {
        try await KeyFolder.with { keys in
            try await body(isSealed ? ["UPLOAD_KEY_FILE": try keys.key("key")] : [:])
        }
    }

    /// Sends the beginning of a `PATCH`, and breaks the connection once the server writes.
    private func breakOff(
        _ client: ResumableClient, _ range: Range<Int>, after count: Int, resets: Bool = false, _ clinic: Clinic
    ) async throws {
        try await client.server.withWire { wire async throws in
            try await wire.send(client.patchHead(range))
            try await wire.send(client.content[range.lowerBound..<range.lowerBound + count])
            try await eventually("the request writes") { try await !clinic.uploadHasNoWriter() }
            if resets { try await wire.resetOnClose() }
        }
    }

    @Test("What arrived of a request that breaks off is kept", arguments: [true, false], [true, false])
    func broken(resets: Bool, isSealed: Bool) async throws {
        try await withKey(isSealed) { environment in try await broken(resets: resets, environment) }
    }

    private func broken(resets: Bool, _ environment: [String: String]) async throws {
        try await withClinic(environment) { clinic async throws in
            var client = clinic.resumable(400_000)
            try await client.begin()
            var offset = 0
            for count in [10, 70_000, 130_000] {
                try await breakOff(client, offset..<400_000, after: count, resets: resets, clinic)
                try await eventually("the request has ended") { try await clinic.uploadHasNoWriter() }
                let next = try #require(try await client.offset())
                // A reset can lose bytes that the server has not read.
                #expect(resets ? (offset...offset + count).contains(next) : next == offset + count)
                offset = next
                #expect(try await clinic.progress(of: client.session)["status"] as? String == "uploading")
            }
            #expect(try await client.patch(offset..<400_000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("A second request gets 423 while the first one is heard, and takes over once it is silent")
    func takeover() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(300_000)
            try await client.begin()
            try await clinic.server.withWire { first async throws in
                try await first.send(client.patchHead(0..<300_000))
                try await first.send(client.content.prefix(1000))
                try await eventually("the first request writes") { try await !clinic.uploadHasNoWriter() }
                let second = client
                let (locked, count) = try await first.trickle(client.content.dropFirst(1000)) {
                    try await second.patch(0..<300_000)
                }
                let sent = 1000 + count
                expectProblem(locked, 423, "upload-locked")
                #expect((1...5).contains(Int(locked.headers.first(name: "Retry-After") ?? "") ?? 0))
                // What the silent client sent is committed meanwhile.
                try await eventually("the first bytes are committed") { try await client.offset() == sent }
                try await eventually("the second request takes over") {
                    try await client.patch(sent..<200_000).status == 204
                }
                // The first connection comes back. It cannot write any more.
                try await first.send(client.content[sent..<300_000])
                let late = try await first.readResponse()
                #expect([409, 423].contains(late.status))
                #expect(try await client.offset() == 200_000)
            }
            #expect(try await client.patch(200_000..<300_000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("Another server with the same folder continues after a server has died")
    func otherServer() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(300_000)
            try await client.begin()
            #expect(try await client.patch(0..<100_000).status == 204)
            // A killed server leaves a lease that nobody extends, and a file that no row names.
            try await clinic.database.query(
                """
                UPDATE app.resumable_uploads SET writer = gen_random_uuid(), heard_at = now(),
                    leased_until = clock_timestamp() + interval '2 seconds'
                """)
            let uploads = clinic.server.uploads.path(percentEncoded: false)
            let folder = try #require(try clinic.storedFiles().first { $0.hasSuffix(".parts") })
            try Data("half a part".utf8).write(to: URL(filePath: "\(uploads)/\(folder)/\(UUID())"))
            let upload = client
            try await withServer(over: clinic.database, ["UPLOAD_DIR": uploads]) { second async throws in
                let other = upload.at(second)
                #expect(try await other.offset() == 100_000)
                // The request waits until the lease has run out.
                #expect(try await other.patch(100_000..<200_000).status == 204)
            }
            #expect(try await client.patch(200_000..<300_000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("Two clients that continue at once bring each byte once, and the recording is whole")
    func twoAtOnce() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(2_000_000)
            try await client.begin()
            let upload = client
            let statuses = try await withThrowingTaskGroup(of: [Int].self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        var statuses: [Int] = []
                        while let offset = try await upload.offset(), offset < 2_000_000 {
                            statuses.append(try await upload.patch(offset..<min(offset + 300_000, 2_000_000)).status)
                        }
                        return statuses
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(statuses.allSatisfy { [204, 409, 423].contains($0) })
            #expect(statuses.count { $0 == 204 } == 7)
            try await clinic.expectRecording(client)
        }
    }

    @Test("The database refuses the last byte for long: the client finds all bytes there, and sends none again")
    func databaseAway() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(100_000)
            try await client.begin()
            // No transaction can attach a recording.
            try await clinic.database.query(
                """
                CREATE FUNCTION app.fails() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '57P03'; END $$
                """)
            try await clinic.database.query(
                """
                CREATE TRIGGER fails BEFORE UPDATE OF recording ON app.therapy_sessions
                FOR EACH ROW EXECUTE FUNCTION app.fails()
                """)
            let answer = try await client.patch(0..<100_000)
            expectProblem(answer, 503, "unavailable")
            #expect(answer.headers["Retry-After"].count == 1)
            try await clinic.database.query("DROP TRIGGER fails ON app.therapy_sessions")
            try await eventually("the recording is entered") { try await client.offset() == 100_000 }
            try await clinic.expectRecording(client)
        }
    }

    @Test("No key and nonce seals two plaintexts, over cuts, wrong checksums, repeats and the end")
    func nonces() async throws {
        let uses = Uses()
        try await RecordingSeal.$onUse.withValue({ uses.add($0) }) {
            try await withKey(true) { environment in try await sealInParts(environment) }
        }
        let all = uses.all
        #expect(all.count > 100)
        #expect(Set(all).count == all.count)
    }

    /// The keys and nonces that a server has used.
    private final class Uses: Sendable {
        private let uses = Mutex<[RecordingSeal.Use]>([])

        var all: [RecordingSeal.Use] { uses.withLock { $0 } }

        func add(_ use: RecordingSeal.Use) { uses.withLock { $0.append(use) } }
    }

    private func sealInParts(_ environment: [String: String]) async throws {
        try await withClinic(environment) { clinic async throws in
            var client = clinic.resumable(3_000_000)
            try await client.begin()
            try await breakOff(client, 0..<3_000_000, after: 1_500_000, clinic)
            try await eventually("the request has ended") { try await clinic.uploadHasNoWriter() }
            var offset = try #require(try await client.offset())
            let range = offset..<offset + 400_000
            let wrong = ResumableClient.checksum(Data())
            #expect(try await client.patch(range, headers: ["Upload-Checksum": wrong]).status == 460)
            #expect(try await client.patch(range).status == 204)
            for count in [1, 65_536, 100_000] {
                offset = try #require(try await client.offset())
                #expect(try await client.patch(offset..<offset + count).status == 204)
            }
            offset = try #require(try await client.offset())
            #expect(try await client.patch(offset..<3_000_000).status == 204)
            try await clinic.expectRecording(client)
        }
    }
}
