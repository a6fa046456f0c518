import Testing

@testable import HTTPAPI

@Suite("Refused uploads that are read to their end") struct DrainsTests {
    @Test("No more connections drain at once than the limit, and each that ends makes room")
    func number() {
        let drains = Drains(most: 2)
        let first = drains.begin(limit: 1)
        var second = drains.begin(limit: 1)
        #expect(first != nil && second != nil)
        #expect(drains.begin(limit: 1) == nil)
        second = nil
        #expect(drains.begin(limit: 1) != nil)
        #expect(first != nil && second == nil)
    }
}
