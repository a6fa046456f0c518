import Domain
import TestSupport
import Testing

@testable import Pipeline

@Suite(.deadline) struct SessionHintsTests {
    @Test("A reader still gets a hint after the same job has added another reader")
    func nested() async {
        let hints = SessionHints()
        let session = SessionID.random()
        var outer = hints.hints(of: session, attempt: 1).makeAsyncIterator()
        // The inner reader has ended. It must not keep the hint from the outer one.
        _ = hints.hints(of: session, attempt: 1)
        hints.wake([session])
        #expect(await outer.next() != nil)
        hints.wake(nil)
        #expect(await outer.next() != nil)
    }

    @Test("The end of a job leaves the readers of a later job")
    func forget() async {
        let hints = SessionHints()
        let session = SessionID.random()
        _ = hints.hints(of: session, attempt: 1)
        var later = hints.hints(of: session, attempt: 2).makeAsyncIterator()
        hints.forget(session, attempt: 1)
        hints.wake([session])
        #expect(await later.next() != nil)
    }
}
