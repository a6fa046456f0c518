import Testing

@testable import Polling

private final class Handler: PollHandler {
    func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {}
}

@Suite("The descriptor table") struct DescriptorTableTests {
    /// The race: in one batch of events, the first handler closes a descriptor and opens another with the same number.
    ///
    /// An old event of the closed descriptor is still to come.
    @Test("An event of a closed descriptor does not reach the next owner of its number")
    func staleEvent() {
        var table = DescriptorTable()
        let old = table.insert(7, interest: .read, handler: Handler())
        #expect(table.remove(7) == true)
        let successor = Handler()
        let new = table.insert(7, interest: .read, handler: successor)
        #expect(table.lookUp(old) == nil)
        #expect(table.lookUp(new)?.handler === successor)
    }

    @Test("To remove an absent descriptor changes nothing")
    func absent() {
        var table = DescriptorTable()
        #expect(table.remove(3) == false)
        #expect(table.remove(-1) == false)
        _ = table.insert(3, interest: .read, handler: Handler())
        #expect(table.remove(3) == true)
        #expect(table.remove(3) == false)
    }

    @Test("The kernel is asked only if the interest changes")
    func interestChange() {
        var table = DescriptorTable()
        let token = table.insert(5, interest: .read, handler: Handler())
        #expect(table.setInterest(.read, of: 5) == nil)
        #expect(table.setInterest([.read, .write], of: 5) == token)
        #expect(table.setInterest(.read, of: 6) == nil)
    }
}
