import Domain
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct SealedUploadTests {
    /// Two whole chunks and a part of a third, with a text that the test searches for.
    private static let canary = Data("what nobody but the two of them should hear".utf8)
    private static let file: UploadFile = {
        var file = UploadFile.wav(size: 150_000)
        file.bytes.replaceSubrange(70_000..<70_000 + canary.count, with: canary)
        return file
    }()

    @Test("Recordings are encrypted on disk and served as uploaded, whole and in ranges")
    func served() async throws {
        try await KeyFolder.with { keys in
            try await withClinic(["UPLOAD_KEY_FILE": try keys.key("a")]) { clinic in
                let response = try await clinic.upload(
                    Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                #expect(response.status == 201)
                #expect(try response.json()["bytes"] as? Int == Self.file.bytes.count)
                let id = try #require(try response.json()["id"] as? String)
                let path = "/api/sessions/\(id)/recording"

                let stored = try #require(try clinic.storedFiles().first)
                #expect(stored.wholeMatch(of: /[0-9a-f-]{36}\.enc/) != nil)
                let raw = try Data(contentsOf: clinic.server.uploads.appending(path: stored))
                #expect(raw.firstRange(of: Self.canary) == nil)
                #expect(raw.firstRange(of: Data("RIFF".utf8)) == nil)

                let whole = try await clinic.request(.GET, path, as: .patient)
                #expect(whole.status == 200)
                #expect(whole.body == Self.file.bytes)
                #expect(whole.headers["Content-Length"] == ["150000"])
                #expect(whole.headers["Content-Type"] == ["audio/wav"])
                for (range, part) in [
                    ("bytes=0-0", 0..<1), ("bytes=65535-65536", 65_535..<65_537),
                    ("bytes=65536-131071", 65_536..<131_072),
                    ("bytes=60000-140000", 60_000..<140_001), ("bytes=-7", 149_993..<150_000),
                ] {
                    let response = try await clinic.request(.GET, path, as: .therapist, headers: ["Range": range])
                    #expect(response.status == 206)
                    #expect(response.body == Self.file.bytes[part], "\(range)")
                    #expect(
                        response.headers["Content-Range"]
                            == ["bytes \(part.lowerBound)-\(part.upperBound - 1)/150000"])
                }
                let beyond = try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=150000-"])
                expectProblem(beyond, 416, "range-not-satisfiable")
                // A repeated upload is compared with the uploaded bytes, not with the encrypted ones.
                var again = Upload(patient: clinic.id(.patient), file: Self.file)
                again.fields.append(("session_id", id))
                #expect(try await clinic.upload(again, as: .patient).status == 200)
            }
        }
    }

    @Test("Recordings without encryption and with a previous key are still served")
    func rotation() async throws {
        try await KeyFolder.with { keys in
            let (old, new) = (try keys.key("old"), try keys.key("new"))
            let uploads = try keys.folder("uploads")
            try await withDatabase { database in
                @Sendable func upload(_ name: String, _ environment: [String: String]) async throws -> String {
                    try await withServer(over: database, environment.merging(["UPLOAD_DIR": uploads]) { $1 }) {
                        server in
                        let clinic = try await Clinic(server, domain: "\(name).example")
                        let response = try await clinic.upload(
                            Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                        return try #require(try response.json()["id"] as? String)
                    }
                }
                let ids = [
                    try await upload("plain", [:]), try await upload("old", ["UPLOAD_KEY_FILE": old]),
                    try await upload("new", ["UPLOAD_KEY_FILE": new, "UPLOAD_PREVIOUS_KEY_FILES": old]),
                ]
                #expect(
                    try FileManager.default.contentsOfDirectory(atPath: uploads).count { $0.hasSuffix(".enc") } == 2)
                @Sendable func statuses(_ environment: [String: String]) async throws -> [Int] {
                    let memory = LogMemory()
                    return try await withServer(
                        over: database, environment.merging(["UPLOAD_DIR": uploads]) { $1 }, log: memory
                    ) { server in
                        let token = try await server.token(try await database.addUser(.admin))
                        var statuses: [Int] = []
                        for id in ids {
                            let response = try await server.request(.GET, "/api/sessions/\(id)/recording", token: token)
                            statuses.append(response.status)
                            if response.status == 200 {
                                #expect(response.body == Self.file.bytes)
                            } else {
                                expectProblem(response, 500, "internal-error")
                                #expect(memory.text.contains("UPLOAD_KEY_FILE"))
                            }
                        }
                        return statuses
                    }
                }
                #expect(
                    try await statuses(["UPLOAD_KEY_FILE": new, "UPLOAD_PREVIOUS_KEY_FILES": old]) == [200, 200, 200])
                #expect(try await statuses(["UPLOAD_KEY_FILE": new]) == [200, 500, 200])
                #expect(try await statuses([:]) == [200, 500, 500])
            }
        }
    }

    @Test("A recording that was tampered with gets 500, or a broken connection after the head")
    func tampered() async throws {
        try await KeyFolder.with { keys in
            let memory = LogMemory()
            try await withServer(["UPLOAD_KEY_FILE": try keys.key("a")], log: memory) { server in
                let clinic = try await Clinic(server)
                let response = try await clinic.upload(
                    Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                let id = try #require(try response.json()["id"] as? String)
                let path = "/api/sessions/\(id)/recording"
                let url = server.uploads.appending(path: try #require(try clinic.storedFiles().first))
                let raw = try Data(contentsOf: url)

                // The last chunk is missing.
                try raw.prefix(48 + 2 * 65_552).write(to: url)
                for headers in [[:], ["Range": "bytes=0-9"]] {
                    expectProblem(
                        try await clinic.request(.GET, path, as: .patient, headers: headers), 500, "internal-error",
                        detail: "Something went wrong here")
                }
                #expect(memory.text.contains("tampered"))

                // The second chunk is changed: a range that starts in it is refused, and one before it is served.
                var changed = raw
                changed[48 + 65_552 + 9] ^= 1
                try changed.write(to: url)
                expectProblem(
                    try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=65536-65540"]), 500,
                    "internal-error")
                let good = try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=0-65535"])
                #expect(good.body == Self.file.bytes.prefix(65_536))
                let connection = try await server.attackConnection()
                await connection.send(
                    "GET \(path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(clinic.token(.patient))\r\n\r\n")
                let answer = Data(try await connection.bytesUntilClosed().readableBytesView)
                #expect(answer.starts(with: Data("HTTP/1.1 200".utf8)))
                let end = try #require(answer.firstRange(of: Data("\r\n\r\n".utf8))).upperBound
                let body = answer[end...]
                // The body is the first chunk or a part of it, and no byte after that.
                #expect(Self.file.bytes.prefix(65_536).starts(with: body), "\(body.count) bytes")
                #expect(memory.text.contains("recording broken off"))
                for word in ["RIFF", String(decoding: Self.canary, as: UTF8.self)] {
                    #expect(!memory.text.contains(word))
                }
            }
        }
    }
}
