import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

@Suite(.deadline) struct RecordingRouteTests {
    /// Lends the path of an uploaded recording.
    private func withRecording(
        _ file: UploadFile = .wav(size: 300_000),
        _ body: @escaping @Sendable (Clinic, String, Data) async throws -> Void
    ) async throws {
        try await withClinic { clinic in
            let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
            let id = try #require(try response.json()["id"] as? String)
            try await body(clinic, "/api/sessions/\(id)/recording", file.bytes)
        }
    }

    @Test("Every caller who may hear the recording gets the whole file")
    func whole() async throws {
        try await withRecording { clinic, path, bytes in
            for caller in [Clinic.Caller.patient, .therapist, .admin] {
                let response = try await clinic.request(.GET, path, as: caller)
                #expect(response.status == 200, "\(caller)")
                #expect(response.body == bytes)
                #expect(response.headers["Content-Type"] == ["audio/wav"])
                #expect(response.headers["Content-Length"] == ["\(bytes.count)"])
                #expect(response.headers["Accept-Ranges"] == ["bytes"])
                #expect(response.headers["X-Content-Type-Options"] == ["nosniff"])
                #expect(response.headers.first(name: "Cache-Control")?.contains("no-store") == true)
                #expect(response.headers.first(name: "Content-Disposition") == "attachment; filename=\"a.wav\"")
            }
            for caller in [Clinic.Caller.otherPatient, .stranger, .former, .nominal] {
                // `nominal` is named by another session of this patient, and has no assignment.
                expectProblem(try await clinic.request(.GET, path, as: caller), 403, "forbidden", "\(caller)")
            }
        }
    }

    @Test("A range request gets the range")
    func ranges() async throws {
        try await withRecording { clinic, path, bytes in
            for (range, part) in [
                ("bytes=0-0", 0..<1), ("bytes=0-99", 0..<100), ("bytes=100000-", 100_000..<300_000),
                ("bytes=131071-131073", 131_071..<131_074), ("bytes=-5", 299_995..<300_000),
                ("bytes=299999-400000", 299_999..<300_000),
            ] {
                let response = try await clinic.request(.GET, path, as: .patient, headers: ["Range": range])
                #expect(response.status == 206, "\(range)")
                #expect(response.body == bytes[part], "\(range)")
                #expect(response.headers["Content-Range"] == ["bytes \(part.lowerBound)-\(part.upperBound - 1)/300000"])
                #expect(response.headers["Content-Length"] == ["\(part.count)"])
            }
            // RFC 9110, 14.2: only GET has ranges. 13.1.5: with an unknown validator the response is the whole file.
            let asked: [(HTTPMethod, [String: String])] = [
                (.HEAD, ["Range": "bytes=0-9"]), (.GET, ["Range": "bytes=0-9", "If-Range": "\"7\""]),
            ]
            for (method, headers) in asked {
                let response = try await clinic.request(method, path, as: .patient, headers: headers)
                #expect(response.status == 200)
                #expect(response.headers["Content-Length"] == ["300000"])
                #expect(response.body == (method == .HEAD ? Data() : bytes))
            }
            for range in ["bytes=0-1,3-4", "bytes=x", "lines=0-1"] {
                let response = try await clinic.request(.GET, path, as: .patient, headers: ["Range": range])
                #expect(response.status == 200, "\(range)")
                #expect(response.body == bytes)
            }
            let beyond = try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=300000-"])
            expectProblem(beyond, 416, "range-not-satisfiable")
            #expect(beyond.headers["Content-Range"] == ["bytes */300000"])
        }
    }

    @Test("The recording has a strong tag and a date, and ranges and repeats may depend on them")
    func validators() async throws {
        try await withRecording { clinic, path, bytes in
            func get(_ headers: [String: String], _ method: HTTPMethod = .GET) async throws -> TestResponse {
                try await clinic.request(method, path, as: .patient, headers: headers)
            }
            let first = try await get([:])
            let tag = try #require(first.headers.first(name: "ETag"))
            #expect(tag.wholeMatch(of: /"[0-9a-f]{64}"/) != nil)
            let date = try #require(first.headers.first(name: "Last-Modified"))
            #expect(date.wholeMatch(of: /[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT/) != nil)
            #expect(try await get([:], .HEAD).headers.first(name: "ETag") == tag)
            for (condition, status) in [
                (tag, 206), (date, 206), (" \(tag) ", 206), ("W/\(tag)", 200), ("\"7\"", 200), ("*", 200),
                ("Sun, 06 Nov 1994 08:49:37 GMT", 200), ("Sat, 01 Jan 2050 00:00:00 GMT", 200), ("nonsense", 200),
            ] {
                let response = try await get(["Range": "bytes=5-14", "If-Range": condition])
                #expect(response.status == status, "\(condition)")
                #expect(response.body == (status == 206 ? bytes[5..<15] : bytes))
                #expect(response.headers["ETag"] == [tag])
            }
            for (headers, status) in [
                (["If-None-Match": tag], 304), (["If-None-Match": "W/\(tag)"], 304), (["If-None-Match": "\"7\""], 200),
                (["If-Modified-Since": date], 304), (["If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"], 200),
                // RFC 9110, 13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match".
                (["If-None-Match": "\"7\"", "If-Modified-Since": date], 200),
            ] {
                let response = try await get(headers)
                #expect(response.status == status, "\(headers)")
                #expect(response.body == (status == 304 ? Data() : bytes))
                #expect(response.headers["ETag"] == [tag])
            }
        }
    }

    @Test("A download ends before its declared length within 30 s of the loss of the right")
    func lostRight() async throws {
        try await withLongDownload { clinic, clock, wire, length in
            try await clinic.database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            clock.advance(by: .seconds(30))
            let received = try await wire.readToEnd()
            #expect(received.count < length)
            #expect(received.count > 0)
        }
    }

    @Test("A download goes on to its end while the right stands, and is one access in the audit log")
    func confirmedRight() async throws {
        try await withLongDownload { clinic, clock, wire, length in
            clock.advance(by: .seconds(30))
            let received = try await wire.read { $0.count >= length ? length : nil }
            #expect(received?.count == length)
            let records = try await clinic.database.audit("action = 'recording.read'")
            #expect(records.count == 1)
        }
    }

    /// Lends a connection on which a therapist's download of a long recording has begun.
    ///
    /// The recording is longer than all buffers between the server and the test. The server therefore waits in the middle of
    /// it until the test reads.
    private func withLongDownload(
        _ body: @escaping @Sendable (Clinic, ManualClock, inout WireConnection, Int) async throws -> Void
    ) async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let clinic = try await Clinic(server)
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 300_000))
            let response = try await clinic.upload(upload, as: .patient)
            let id = try #require(try response.json()["id"] as? String)
            let length = 64 << 20
            for file in try clinic.storedFiles() {
                let handle = try FileHandle(forWritingTo: clinic.server.uploads.appending(path: file))
                try handle.truncate(atOffset: UInt64(length))
                try handle.close()
            }
            try await server.withWire(receiveBuffer: 64 << 10) { wire in
                try await wire.send("GET", "/api/sessions/\(id)/recording", token: clinic.token(.therapist))
                let head = try await wire.readHead()
                #expect(head.status == 200)
                #expect(head.headers["Content-Length"] == ["\(length)"])
                try await body(clinic, clock, &wire, length)
            }
        }
    }

    @Test("A link in the place of a recording is not followed")
    func link() async throws {
        try await withRecording { clinic, path, _ in
            let secret = FileManager.default.temporaryDirectory.appending(path: "tb-secret-\(UUID())")
            try Data("a file of the server's account".utf8).write(to: secret)
            defer { try? FileManager.default.removeItem(at: secret) }
            for name in try clinic.storedFiles() {
                let file = clinic.server.uploads.appending(path: name)
                try FileManager.default.removeItem(at: file)
                try FileManager.default.createSymbolicLink(at: file, withDestinationURL: secret)
            }
            for method in [HTTPMethod.GET, .HEAD] {
                let response = try await clinic.request(method, path, as: .patient)
                #expect(response.status == 500)
                #expect(!response.text.contains("account"))
            }
        }
    }

    @Test("A hostile file name cannot end the Content-Disposition header")
    func filename() async throws {
        try await withRecording(UploadFile("a\\\"; x=ü\\\\b.wav", "audio/wav", "RIFF\0\0\0\0WAVE")) { clinic, path, _ in
            let response = try await clinic.request(.GET, path, as: .patient)
            let disposition = try #require(response.headers.first(name: "Content-Disposition"))
            let match = try #require(disposition.wholeMatch(of: /attachment; filename="([^"\\]*)"(; filename\*=.*)?/))
            #expect(match.1.hasSuffix("b.wav"))
        }
    }

    @Test("A missing recording gets 404, and so does a recording whose file is missing")
    func none() async throws {
        try await withRecording { clinic, path, _ in
            expectProblem(try await clinic.request(.GET, of: "/recording", as: .patient), 404, "not-found")
            for file in try clinic.storedFiles() {
                try FileManager.default.removeItem(at: clinic.server.uploads.appending(path: file))
            }
            expectProblem(try await clinic.request(.GET, path, as: .patient), 404, "not-found")
        }
    }
}
