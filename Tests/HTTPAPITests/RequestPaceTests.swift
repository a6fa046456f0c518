import NIOCore
import Testing

@testable import HTTPAPI

@Suite("The pace of a request")
struct RequestPaceTests {
    private static let limits = RequestPace.Limits(headTime: .seconds(20), bodyTime: .seconds(30))
    private var pace = RequestPace(limits: limits)

    private func at(_ seconds: Int) -> NIODeadline { .uptimeNanoseconds(UInt64(seconds) * 1_000_000_000) }

    @Test("The time begins with the first byte of a head, and later bytes do not extend it")
    mutating func head() {
        #expect(pace.deadline == nil)
        pace.bytesCame(at: at(100))
        for second in 101..<200 { pace.bytesCame(at: at(second)) }
        #expect(pace.deadline == at(120))
        #expect(!pace.isInBody)
        pace.headCame(at: at(110))
        #expect(pace.isInBody)
        pace.endCame()
        #expect(pace.deadline == nil)
        pace.bytesCame(at: at(300))
        #expect(pace.deadline == at(320))
    }

    @Test("A body has to bring enough bytes in each period, however they are cut, or end")
    mutating func body() {
        pace.headCame(at: at(0))
        #expect(pace.deadline == at(30))
        for second in 1...8191 { pace.bodyCame(1, at: at(second)) }
        #expect(pace.deadline == at(30))
        pace.bodyCame(1, at: at(10_000))
        #expect(pace.deadline == at(10_030))
        pace.bodyCame(1_000_000, at: at(10_010))
        #expect(pace.deadline == at(10_040))
        pace.bodyCame(0, at: at(10_020))
        #expect(pace.deadline == at(10_040))
        pace.endCame()
        #expect(pace.deadline == nil)
        #expect(!pace.isInBody)
    }

    @Test("The body of an upload may stand still for its own time, and each byte begins it again")
    mutating func upload() {
        let limits = RequestPace.Limits(headTime: .seconds(20), bodyTime: .seconds(30), uploadTime: .seconds(120))
        pace = RequestPace(limits: limits)
        pace.headCame(at: at(0), isUpload: true)
        #expect(pace.deadline == at(120))
        pace.bodyCame(1, at: at(100))
        #expect(pace.deadline == at(220))
        pace.bodyCame(0, at: at(150))
        #expect(pace.deadline == at(220))
        #expect(pace.isInBody)
        #expect(pace.isInUpload)
        pace.excuse(at: at(200))
        #expect(pace.deadline == at(320))
        pace.endCame()
        #expect(pace.deadline == nil)
        pace.headCame(at: at(400))
        #expect(pace.deadline == at(430))
        #expect(!pace.isInUpload)
        // The rest of a refused upload has no more time than another body.
        pace.headCame(at: at(500), isUpload: true)
        pace.answerCame(at: at(510))
        #expect(pace.deadline == at(540))
        #expect(pace.isInBody)
    }

    @Test("The time begins again after a pause of the server")
    mutating func excuse() {
        pace.excuse(at: at(5))
        #expect(pace.deadline == nil)
        pace.bytesCame(at: at(10))
        pace.excuse(at: at(25))
        #expect(pace.deadline == at(45))
        pace.headCame(at: at(30))
        pace.bodyCame(8000, at: at(31))
        pace.excuse(at: at(50))
        #expect(pace.deadline == at(80))
        pace.bodyCame(8000, at: at(60))
        #expect(pace.deadline == at(80))
    }
}
