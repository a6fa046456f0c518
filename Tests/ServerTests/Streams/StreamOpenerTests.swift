import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Streams that begin without the framework, compared with those that begin with it.
@Suite("Openings without the framework", .deadline) struct StreamOpenerTests {
    /// The two ways in which the server answers a request for a stream.
    ///
    /// A header that the server does not know leaves a request to the framework.
    private enum Way: CaseIterable, Sendable {
        case direct, framework

        var header: String { self == .direct ? "" : "X-Unknown: 1\r\n" }
    }

    /// What a client, the log, the metrics and the audit log have of one request.
    private struct Trace: Equatable, CustomStringConvertible {
        var answer = ""
        var log: [String] = []
        var audit: [String] = []
        var metrics: [String] = []

        var description: String { ([answer] + log + audit + metrics).joined(separator: "\n") }
    }

    /// A request for a stream: what is done before it, who sends it, and what it has.
    private struct Case: Sendable {
        let name: String
        var caller = Clinic.Caller.patient
        var session: SessionID?
        var header = ""
        var token: String?
        var before: @Sendable (Clinic) async throws -> Void = { _ in }
    }

    private static let cases = [
        Case(name: "fresh"), Case(name: "therapist", caller: .therapist),
        Case(name: "resumed", header: "Last-Event-ID: 1\r\n") {
            try await $0.database.report($0.session, .transcribing, 30)
        },
        Case(name: "resumed beyond the present", header: "Last-Event-ID: 99\r\n"),
        Case(name: "resumed from no version", header: "Last-Event-ID: 0\r\n"),
        Case(name: "from two proxies", header: "X-Forwarded-For: 198.51.100.1 ,\t[2001:db8:0:7::2]:4711\r\n"),
        Case(
            name: "from a proxy that is not trusted",
            header: "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7:4711\r\n"),
        Case(name: "from no address", header: "X-Forwarded-For: 198.51.100.1, unknown\r\n"),
        Case(name: "stranger", caller: .stranger), Case(name: "other patient", caller: .otherPatient),
        Case(name: "unknown session", session: .random()), Case(name: "bad token", token: "a.b.c"),
        Case(name: "inactive", caller: .former) {
            try await $0.database.query("UPDATE app.users SET is_active = false WHERE id = \($0.id(.former).rawValue)")
        },
        Case(name: "finished") { try await $0.database.report($0.session, .failed, 30, error: "No speech.") },
        Case(name: "finished, and seen", header: "Last-Event-ID: 3\r\n"),
        Case(name: "from a proxy", caller: .stranger, header: "X-Forwarded-For: 192.0.2.7\r\n"),
    ]

    @Test("The answer, the log, the metrics and the audit log are the same as with the framework")
    func sameTraces() async throws {
        async let direct = traces(.direct)
        async let framework = traces(.framework)
        for (one, other) in zip(try await direct, try await framework) {
            #expect(one.trace == other.trace, "\(one.name)")
            #expect(one.opened == (one.trace.answer.contains("event: progress")), "\(one.name)")
            #expect(!other.opened, "\(other.name)")
        }
    }

    /// With triggers off, a superuser's change sends no notification and leaves no row about rights.
    @Test(
        "A sign-in that has ended opens no stream, even if its token was verified before and the notification is lost")
    func endedSilently() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await RightsScene(server)
            for _ in 0..<2 {
                try await server.withStream(scene.path, token: scene.token) { _ = try await $0.next("progress") }
            }
            try await scene.database.withConnection { connection in
                try await connection.executeScript(
                    """
                    SET session_replication_role = replica;
                    UPDATE app.auth_sessions SET revoked_at = now() WHERE id = '\(scene.signIn)';
                    """)
            }
            for way in Way.allCases {
                let head = try await server.withWire { wire in
                    try await wire.send(
                        "GET \(scene.path) HTTP/1.1\r\nHost: test\r\n\(way.header)"
                            + "Authorization: Bearer \(scene.token)\r\n\r\n")
                    return try await wire.readHead()
                }
                #expect(head.status == 401, "\(way)")
            }
            #expect(try await server.request(.GET, "/api/auth/me", token: scene.token).status == 401)
        }
    }

    @Test(
        "A client that sends more while the server authorizes it gets its answer",
        arguments: [Clinic.Caller.patient, .stranger])
    func talkative(caller: Clinic.Caller) async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                try await clinic.database.withConnection { connection in
                    // The opening waits for the lock, because it has to write its audit record.
                    try await connection.executeScript("BEGIN; LOCK TABLE app.audit_log IN ACCESS EXCLUSIVE MODE")
                    try await wire.send("GET", clinic.streamOfSession, token: clinic.token(caller))
                    try await eventually("the opening waits") {
                        try await clinic.database.query("SELECT FROM pg_locks WHERE NOT granted").count > 0
                    }
                    try await wire.send(Data(repeating: UInt8(ascii: "G"), count: 200_000))
                    try await connection.executeScript("COMMIT")
                }
                let (status, headers) = try await wire.readHead()
                if caller == .patient {
                    #expect(status == 200)
                    _ = try await wire.read(upTo: "\"pending\"")
                    try await clinic.database.report(clinic.session, .transcribing, 20)
                    _ = try await wire.read(upTo: "\"transcribing\"")
                } else {
                    #expect(status == 403)
                    let body = try await wire.readBody(of: headers)
                    #expect(String(decoding: body, as: UTF8.self).contains("/problems/forbidden"))
                }
            }
        }
    }

    /// Sends the requests of all cases to a server of their own.
    private func traces(_ way: Way) async throws -> [(name: String, trace: Trace, opened: Bool)] {
        let log = LogMemory()
        return try await withServer(log: log) { server in
            let clinic = try await Clinic(server)
            var traces: [(name: String, trace: Trace, opened: Bool)] = []
            var lines = 0
            for each in Self.cases {
                try await each.before(clinic)
                let path = each.session.map { "/api/sessions/\($0)/status/stream" } ?? clinic.streamOfSession
                let answer = try await server.withWire { wire in
                    try await wire.send(
                        "GET \(path) HTTP/1.1\r\nHost: test\r\n\(way.header)\(each.header)"
                            + "Authorization: Bearer \(each.token ?? clinic.token(each.caller))\r\n\r\n")
                    return try await readAnswer(&wire)
                }
                let id = try #require(answer.requestID, "\(each.name)")
                var trace = Trace(answer: answer.text)
                trace.audit = try await server.database.audit().map {
                    "\($0.action) \($0.isAllowed) \($0.address ?? "-") \($0.requestID == id)"
                }
                let new = log.text.split(separator: "\n").dropFirst(lines).filter { $0.contains(id) }
                lines = log.text.split(separator: "\n").count
                trace.log = new.filter { $0.hasPrefix("info ") || $0.hasPrefix("warning ") }.map(Self.sorted)
                trace.metrics = try await clinic.scrape().samples
                    .filter { $0.name == "therapybridge_http_requests_total" && $0.labels["route"] != "/metrics" }
                    .map { "\($0.labels.sorted { $0.key < $1.key }) \($0.value)" }.sorted()
                traces.append((each.name, trace, new.contains { $0.contains("stream opened without the framework") }))
            }
            return traces
        }
    }

    /// Reads the head and the first event of a stream, or a whole answer, without what differs between any two.
    private func readAnswer(_ wire: inout WireConnection) async throws -> (requestID: String?, text: String) {
        let head = try await wire.read(upTo: "\r\n\r\n")
        var lines = head.split(separator: "\r\n").map(String.init)
        let id = lines.first { $0.lowercased().hasPrefix("x-request-id: ") }?.dropFirst(14)
        lines.removeAll { $0.lowercased().hasPrefix("date: ") }
        var body = ""
        if head.contains("chunked") {
            body = try await wire.read(upTo: "}\n\n")
        } else if let length = lines.first(where: { $0.lowercased().hasPrefix("content-length: ") }) {
            let headers: HTTPHeaders = ["Content-Length": String(length.dropFirst(16))]
            body = String(decoding: try await wire.readBody(of: headers), as: UTF8.self)
        }
        // The order of headers says nothing.
        let text = ([lines[0]] + lines.dropFirst().sorted() + [body]).joined(separator: "\n")
        return (id.map(String.init), Self.withoutTimes(text))
    }

    /// Two databases have other ids and times.
    private static func withoutTimes(_ text: String) -> String {
        text.replacing(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/) { _ in "UUID" }
            .replacing(/\d{4}-\d\d-\d\dT[0-9:.]+Z/) { _ in "TIME" }
    }

    /// The metadata of a line in a fixed order, without the id and the duration of the request.
    private static func sorted(_ line: Substring) -> String {
        let words = line.replacing(/"ms": \d+/, with: "ms").replacing(/[\[\]",]/, with: " ").split(separator: " ")
        return words.map(String.init).filter { $0.wholeMatch(of: /[0-9a-f-]{36}/) == nil }.sorted()
            .joined(separator: " ")
    }
}
