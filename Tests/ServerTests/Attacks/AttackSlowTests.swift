import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Slow clients that hold connections open.
@Suite(.deadline, .serialized) struct AttackSlowTests {
    @Test("A thousand slow clients do not block others, and the server cuts each of them off")
    func slowloris() async throws {
        raiseDescriptorLimit()
        try await withStreamScene(["HTTP_HEAD_TIMEOUT": "10"]) { scene in
            let server = scene.server
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                let crowd = try await withThrowingTaskGroup(of: AttackConnection.self) { group in
                    for _ in 0..<1000 {
                        group.addTask {
                            let connection = try await server.attackConnection()
                            await connection.send("GET /health HTTP/1.1\r\nHost: test\r\nX-a: ")
                            return connection
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                // More bytes of a head do not extend its deadline.
                for connection in crowd { await connection.send("b") }
                let session = "/api/sessions/\(scene.session)"
                for progress in 20..<30 {
                    #expect(try await server.request(.GET, "/health/ready").status == 200)
                    #expect(try await server.request(.GET, session, token: scene.token).status == 200)
                    let version = try await scene.report(.transcribing, progress)
                    _ = try await reader.events(upTo: version)
                }
                for connection in crowd {
                    let answer = try await connection.untilClosed()
                    #expect(answerStatuses(in: answer) == [408])
                }
                #expect(try await server.request(.GET, "/health/ready").status == 200)
            }
        }
    }

    @Test("A connection over the limit waits until another closes, and streams do not count")
    func connections() async throws {
        try await withStreamScene(["HTTP_MAX_CONNECTIONS": "3"]) { scene in
            let server = scene.server
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                let request = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
                var first: [AttackConnection] = []
                for _ in 0..<3 {
                    let connection = try await server.attackConnection()
                    await connection.send(request)
                    try await eventually("an answer on a connection within the limit") {
                        answerStatuses(in: connection.received) == [200]
                    }
                    first.append(connection)
                }
                let late = try await server.attackConnection()
                await late.send(request)
                for round in 2...20 {
                    await first[0].send(request)
                    try await eventually("an answer to each request") {
                        answerStatuses(in: first[0].received).count == round
                    }
                }
                #expect(late.received.isEmpty)
                await first[1].close()
                try await eventually("an answer on the waiting connection") {
                    answerStatuses(in: late.received) == [200]
                }
                for connection in first + [late] { await connection.close() }
                let version = try await scene.report(.transcribing, 20)
                _ = try await reader.events(upTo: version)
            }
        }
    }

    @Test("A slow upload is not cut off while its bytes arrive")
    func upload() async throws {
        try await withClinic(["HTTP_HEAD_TIMEOUT": "60", "HTTP_BODY_TIMEOUT": "5"]) { clinic in
            let file = UploadFile.wav(size: 200_000)
            let upload = Upload(patient: clinic.id(.patient), file: file)
            try await clinic.server.withWire { wire in
                try await wire.send(upload.requestHead(token: clinic.token(.patient)))
                // The upload takes twice as long as a body may pause. The sleep paces the client: the test is about
                // real time.
                let body = upload.body
                let step = body.count / 20 + 1
                for start in stride(from: body.startIndex, to: body.endIndex, by: step) {
                    try await wire.send(body[start..<min(start + step, body.endIndex)])
                    try await Task.sleep(for: .milliseconds(500))
                }
                #expect(try await wire.readResponse().status == 201)
            }
        }
    }
}
