import Testing

@testable import Polling

@Suite("The deadline heap") struct DeadlineHeapTests {
    private let start = ContinuousClock.now

    @Test("Payloads come out in the order of their moments, equal ones in the order of arrival")
    func order() {
        var heap = DeadlineHeap<String>()
        _ = heap.insert("late", at: start + .seconds(3))
        _ = heap.insert("first of two", at: start + .seconds(2))
        _ = heap.insert("second of two", at: start + .seconds(2))
        _ = heap.insert("early", at: start + .seconds(1))
        var order: [String] = []
        while let payload = heap.popDue(now: start + .seconds(3)) { order.append(payload) }
        #expect(order == ["early", "first of two", "second of two", "late"])
    }

    @Test("A payload that is not due stays")
    func notDue() {
        var heap = DeadlineHeap<String>()
        _ = heap.insert("later", at: start + .seconds(1))
        #expect(heap.popDue(now: start) == nil)
        #expect(heap.next() == start + .seconds(1))
        #expect(heap.popDue(now: start + .seconds(1)) == "later")
        #expect(heap.next() == nil)
    }

    @Test("A removed payload never comes out, and does not hide the ones behind it")
    func removed() {
        var heap = DeadlineHeap<String>()
        let early = heap.insert("early", at: start)
        _ = heap.insert("late", at: start + .seconds(1))
        #expect(heap.remove(early) == "early")
        #expect(heap.remove(early) == nil)
        #expect(heap.next() == start + .seconds(1))
        #expect(heap.popDue(now: start + .seconds(1)) == "late")
    }

    @Test("A hundred thousand deadlines that are removed before they are due leave no heap behind")
    func noLeak() {
        var heap = DeadlineHeap<Int>()
        let kept = heap.insert(-1, at: start + .seconds(1000))
        for number in 0..<100_000 {
            heap.remove(heap.insert(number, at: start + .seconds(number % 100)))
        }
        #expect(heap.count == 1)
        #expect(heap.capacityInUse <= 65)
        #expect(heap.remove(kept) == -1)
    }
}
