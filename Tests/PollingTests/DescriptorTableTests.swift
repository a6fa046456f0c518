import Testing

@testable import Polling

private final class Handler: PollHandler {
    func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {}
}

@Suite struct DescriptorTableTests {
    /// The race: in one batch of events the first handler closes a descriptor and opens another that gets the same
    /// number, and an old event of the closed one is still to come.
    @Test func `An event of a closed descriptor does not reach the next owner of its number`() {
        var table = DescriptorTable()
        let old = table.insert(7, interest: .read, handler: Handler())
        #expect(table.remove(7) == true)
        let successor = Handler()
        let new = table.insert(7, interest: .read, handler: successor)
        #expect(table.lookUp(old) == nil)
        #expect(table.lookUp(new)?.handler === successor)
    }

    @Test func `Removing what is not there changes nothing`() {
        var table = DescriptorTable()
        #expect(table.remove(3) == false)
        #expect(table.remove(-1) == false)
        _ = table.insert(3, interest: .read, handler: Handler())
        #expect(table.remove(3) == true)
        #expect(table.remove(3) == false)
    }

    @Test func `The kernel is asked only when the interest changes`() {
        var table = DescriptorTable()
        let token = table.insert(5, interest: .read, handler: Handler())
        #expect(table.setInterest(.read, of: 5) == nil)
        #expect(table.setInterest([.read, .write], of: 5) == token)
        #expect(table.setInterest(.read, of: 6) == nil)
    }
}
