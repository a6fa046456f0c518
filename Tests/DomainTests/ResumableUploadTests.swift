import Domain
import Foundation
import Testing

@Suite("The state machine of a resumable upload")
struct ResumableUploadTests {
    private static let lifetime = Duration.seconds(3600)
    private static let start = Timestamp(microsecondsSinceEpoch: 1_800_000_000_000_000)

    private func at(_ seconds: Double) -> Timestamp { Self.start.advanced(by: .seconds(seconds)) }

    /// An upload whose methods can stand in an expectation.
    private final class Machine {
        var upload: ResumableUpload

        init(_ upload: ResumableUpload) { self.upload = upload }

        func copy() -> Machine { Machine(upload) }

        func admit(_ writer: UUID, at offset: Int64, now: Timestamp) -> ResumableUpload.Admission {
            upload.admit(writer, at: offset, now: now)
        }

        func extend(_ writer: UUID, silentFor: Duration, now: Timestamp) -> Bool {
            upload.extend(writer, silentFor: silentFor, now: now)
        }

        func release(_ writer: UUID) -> Bool { upload.release(writer) }

        func complete(by writer: UUID, now: Timestamp) -> Bool {
            upload.complete(by: writer, now: now, lifetime: ResumableUploadTests.lifetime)
        }

        func commit(
            _ part: ResumableUpload.Part, replacing: String? = nil, by writer: UUID, now: Timestamp? = nil
        ) -> Bool {
            upload.commit(
                part, replacing: replacing, isRecognized: false, by: writer,
                now: now ?? ResumableUploadTests.start.advanced(by: .seconds(1)),
                lifetime: ResumableUploadTests.lifetime)
        }
    }

    private func machine(length: Int64 = 100) -> Machine {
        Machine(
            ResumableUpload(
                id: .random(), session: .random(), patient: .random(), user: .random(), metadata: "", length: length,
                expiresAt: at(3600)))
    }

    private func part(_ name: String, _ count: Int64) -> ResumableUpload.Part { .init(name: name, byteCount: count) }

    @Test("A request writes at the offset of the durable bytes, and nowhere else")
    func offsets() {
        let machine = machine()
        let writer = UUID()
        #expect(machine.admit(writer, at: 1, now: at(0)) == .wrongOffset(0))
        #expect(machine.upload.lease == nil)
        #expect(machine.admit(writer, at: 0, now: at(0)) == .admitted)
        #expect(machine.commit(part("a", 40), by: writer))
        #expect(machine.upload.offset == 40)
        #expect(machine.release(writer))
        #expect(machine.admit(UUID(), at: 0, now: at(2)) == .wrongOffset(40))
        #expect(machine.admit(UUID(), at: 40, now: at(2)) == .admitted)
    }

    @Test(
        "A second request waits while the first one is heard, and takes over once it is silent or its lease has run out"
    )
    func takeover() {
        let (first, second) = (UUID(), UUID())
        let heard = machine()
        #expect(heard.admit(first, at: 0, now: at(0)) == .admitted)
        #expect(heard.admit(second, at: 0, now: at(1)) == .locked(.seconds(4)))
        #expect(heard.extend(first, silentFor: .zero, now: at(2)))
        #expect(heard.admit(second, at: 0, now: at(4)) == .locked(.seconds(3)))
        #expect(heard.upload.lease?.writer == first)

        // The server lives and extends the lease, but no byte arrives.
        let silent = heard.copy()
        for second in 3...7 { #expect(silent.extend(first, silentFor: .seconds(second - 2), now: at(Double(second)))) }
        #expect(silent.admit(second, at: 0, now: at(7)) == .admitted)

        // The server is dead.
        let dead = heard.copy()
        #expect(dead.admit(second, at: 0, now: at(4.9)) == .locked(.milliseconds(2100)))
        #expect(dead.admit(second, at: 0, now: at(5)) == .admitted)
        for lost in [silent, dead] {
            #expect(!lost.extend(first, silentFor: .zero, now: at(8)))
            #expect(!lost.commit(part("a", 10), by: first, now: at(8)))
            #expect(!lost.complete(by: first, now: at(8)))
            #expect(!lost.release(first))
            #expect(lost.upload.lease?.writer == second)
            #expect(lost.upload.offset == 0)
        }
    }

    @Test("A writer whose lease has run out goes on if nobody has taken over")
    func lapse() {
        let machine = machine()
        let writer = UUID()
        #expect(machine.admit(writer, at: 0, now: at(0)) == .admitted)
        #expect(machine.commit(part("a", 10), by: writer, now: at(100)))
        #expect(machine.extend(writer, silentFor: .zero, now: at(100)))
    }

    @Test("A part grows, or replaces the last one, and never loses durable bytes")
    func parts() {
        let machine = machine()
        let writer = UUID()
        #expect(machine.admit(writer, at: 0, now: at(0)) == .admitted)
        #expect(machine.commit(part("a", 10), by: writer))
        #expect(machine.commit(part("a", 30), by: writer))
        #expect(!machine.commit(part("a", 20), by: writer))
        #expect(machine.commit(part("b", 5), by: writer))
        #expect(machine.upload.parts == [part("a", 30), part("b", 5)])
        #expect(!machine.commit(part("c", 4), replacing: "b", by: writer))
        #expect(!machine.commit(part("a", 40), by: writer))
        #expect(machine.commit(part("c", 25), replacing: "b", by: writer))
        #expect(machine.upload.parts == [part("a", 30), part("c", 25)])
        #expect(machine.upload.offset == 55)
        #expect(!machine.commit(part("d", 46), by: writer))
    }

    @Test("The last byte counts only with the recording")
    func lastByte() {
        let machine = machine()
        let writer = UUID()
        #expect(machine.admit(writer, at: 0, now: at(0)) == .admitted)
        #expect(machine.commit(part("a", 100), by: writer))
        #expect(machine.upload.offset == 99)
        #expect(machine.complete(by: writer, now: at(10)))
        #expect(machine.upload.offset == 100)
        #expect(machine.upload.state == .complete)
        #expect(machine.upload.parts == [])
        #expect(machine.admit(UUID(), at: 100, now: at(20)) == .complete)
        #expect(machine.admit(UUID(), at: 99, now: at(20)) == .wrongOffset(100))
        #expect(!machine.complete(by: writer, now: at(20)))
        #expect(machine.admit(UUID(), at: 100, now: at(3611)) == .gone)
    }

    @Test("The time of an upload begins again with each byte, and does not end under a writer")
    func expiry() {
        let machine = machine()
        let writer = UUID()
        #expect(machine.upload.state(at: at(3599)) == .open)
        #expect(machine.upload.state(at: at(3600)) == .ended)
        #expect(machine.admit(writer, at: 0, now: at(3599)) == .admitted)
        #expect(machine.upload.state(at: at(3601)) == .open)
        #expect(machine.commit(part("a", 10), by: writer, now: at(3600)))
        #expect(machine.release(writer))
        #expect(machine.upload.state(at: at(7199)) == .open)
        #expect(machine.admit(UUID(), at: 10, now: at(7200)) == .gone)
        // A request without bytes does not extend it.
        #expect(machine.admit(writer, at: 10, now: at(7100)) == .admitted)
        #expect(machine.commit(part("a", 10), by: writer, now: at(7100)))
        #expect(machine.release(writer))
        #expect(machine.upload.state(at: at(7200)) == .ended)
    }
}
