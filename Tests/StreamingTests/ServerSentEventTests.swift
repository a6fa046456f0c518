import Domain
import Streaming
import Testing

@Suite("The blocks of the stream")
struct ServerSentEventTests {
    private let session = SessionID.random()

    private func progress(_ status: SessionStatus, message: String? = nil) -> SessionProgress {
        SessionProgress(
            sessionID: session, status: status, progress: 45, message: message, error: nil, estimatedTimeRemaining: 30,
            version: 7, attempt: 1, createdAt: .now(), updatedAt: .now())
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private func data(_ progress: SessionProgress) -> String {
        var bytes: [UInt8] = []
        appendJSON(progress, to: &bytes)
        return text(bytes)
    }

    @Test("The block of a state has id, event and data, in this order", arguments: SessionStatus.allCases)
    func state(_ status: SessionStatus) {
        let name =
            switch status {
            case .processed: "complete"
            case .failed: "error"
            default: "progress"
            }
        let progress = progress(status)
        #expect(text(ServerSentEvent.state(progress)) == "id: 7\nevent: \(name)\ndata: \(data(progress))\n\n")
    }

    @Test("The block of an earlier transition never ends a stream", arguments: SessionStatus.allCases)
    func passed(_ status: SessionStatus) {
        let progress = progress(status)
        #expect(text(ServerSentEvent.passed(progress)) == "id: 7\nevent: progress\ndata: \(data(progress))\n\n")
    }

    @Test("A message cannot break a block open")
    func injection() {
        let block = text(
            ServerSentEvent.state(progress(.transcribing, message: "x\n\nevent: complete\r\ndata: {}\r\r")))
        #expect(block.split(separator: "\n", omittingEmptySubsequences: false).count == 5)
        #expect(block.hasSuffix("\n\n"))
        #expect(!block.utf8.contains(UInt8(ascii: "\r")))
    }

    @Test("A block that ends or interrupts a stream has no id")
    func others() {
        #expect(text(ServerSentEvent.revoked(session)) == "event: revoked\ndata: {\"session_id\":\"\(session)\"}\n\n")
        #expect(text(ServerSentEvent.expired(session)) == "event: expired\ndata: {\"session_id\":\"\(session)\"}\n\n")
        #expect(text(ServerSentEvent.degraded) == "event: degraded\ndata: {}\n\n")
        #expect(text(ServerSentEvent.recovered) == "event: recovered\ndata: {}\n\n")
        #expect(text(ServerSentEvent.unavailable) == "event: unavailable\ndata: {}\n\n")
        #expect(text(ServerSentEvent.heartbeat) == ": heartbeat\n\n")
    }

    @Test(
        "The reconnection delay is one line, in milliseconds",
        arguments: [
            (Duration.seconds(2), "2000"), (.milliseconds(500), "500"), (.milliseconds(4999), "4999"), (.zero, "0"),
        ])
    func retry(_ delay: Duration, _ milliseconds: String) {
        #expect(text(ServerSentEvent.retry(delay)) == "retry: \(milliseconds)\n")
    }
}

@Suite("A resumption")
struct ResumptionTests {
    @Test(
        "A stream resumes after a version that existed", arguments: [("1", Int64(1)), ("7", 7), ("007", 7), ("6", 6)])
    func after(_ id: String, _ version: Int64) {
        #expect(Resumption(after: Resumption.version(id), presentVersion: 7) == .after(version))
    }

    @Test(
        "A value that is no number, or beyond the present version, counts as none",
        arguments: [
            nil, "", "0", "8", "-1", "+1", "1.0", "1e0", " 1", "1 ", "0x1", "1\0", "١", "seven", "9223372036854775807",
            "9223372036854775808", "99999999999999999999999999",
        ])
    func fresh(_ id: String?) {
        #expect(Resumption(after: Resumption.version(id), presentVersion: 7) == .fresh)
    }
}
