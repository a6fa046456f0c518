import Testing

@testable import HTTPAPI

@Suite("Refused uploads that are read to their end") struct BodyRestTests {
    @Test("The server reads the rest on no more connections at once than the limit, and each that ends makes room")
    func number() {
        let rests = BodyRests(most: 2)
        let first = rests.begin(limit: 1)
        var second = rests.begin(limit: 1)
        #expect(first != nil)
        #expect(second != nil)
        #expect(rests.begin(limit: 1) == nil)
        second = nil
        #expect(rests.begin(limit: 1) != nil)
        #expect(first != nil)
        #expect(second == nil)
    }
}
