import Testing

@testable import Streaming

@Suite("The clock of the streams") struct TickTests {
    @Test("The clock counts ticks from the beginning, and rounds a moment down")
    func ticks() {
        #expect(Tick(.zero).number == 0)
        #expect(Tick(.milliseconds(49)).number == 0)
        #expect(Tick(.milliseconds(50)).number == 1)
        #expect(Tick(.seconds(3600)).number == 72_000)
        #expect(Tick(.seconds(3600)).sinceBeginning == .seconds(3600))
    }

    @Test("A deadline is rounded up to the next tick")
    func notBefore() {
        for (milliseconds, number) in [(0, 0), (1, 1), (49, 1), (50, 1), (51, 2), (100, 2)] {
            #expect(Tick(notBefore: .milliseconds(milliseconds)).number == UInt32(number))
        }
        #expect(Tick(notBefore: .nanoseconds(1)).number == 1)
    }

    @Test(
        "A moment before the beginning is the first tick",
        arguments: [Duration.milliseconds(-1), .seconds(-3600), .seconds(-1e12)])
    func past(duration: Duration) {
        #expect(Tick(duration).number == 0)
        #expect(Tick(notBefore: duration).number == 0)
    }

    @Test(
        "A moment after the end of the clock is the last tick",
        arguments: [Duration.seconds(300_000_000), .seconds(1e15), .seconds(1e18)])
    func end(duration: Duration) {
        #expect(Tick(duration) == .never)
        #expect(Tick(notBefore: duration) == .never)
        #expect(Tick(.seconds(1)) + Tick.count(duration) == .never)
    }

    @Test("Ticks add, subtract and compare")
    func arithmetic() {
        #expect(Tick(.seconds(1)) + 20 == Tick(.seconds(2)))
        #expect(Tick(.seconds(3)) - Tick(.seconds(1)) == .seconds(2))
        #expect(Tick(.seconds(1)) < Tick(.seconds(2)))
        #expect(Tick.never + 1 == .never)
        #expect(Tick.count(.milliseconds(149)) == 2)
    }
}

@Suite("The deadlines of the streams") struct StreamDeadlinesTests {
    private func tick(_ number: Int) -> Tick { Tick(Tick.length * number) }

    @Test("Deadlines come in order, and not before their time")
    func order() {
        var deadlines = StreamDeadlines()
        #expect(deadlines.next == nil)
        for (slot, due) in [(7, 30), (1, 10), (2, 20), (3, 10)] as [(UInt32, Int)] {
            deadlines.insert(slot, due: tick(due))
        }
        #expect(deadlines.next == tick(10))
        #expect(deadlines.popDue(now: tick(9)) == nil)
        var popped: [UInt32] = []
        while let (slot, due) = deadlines.popDue(now: tick(20)) {
            #expect(due <= tick(20))
            popped.append(slot)
        }
        #expect(Set(popped.prefix(2)) == [1, 3])
        #expect(popped.dropFirst(2) == [2])
        #expect(deadlines.next == tick(30))
        #expect(deadlines.popDue(now: .never)?.slot == 7)
        #expect(deadlines.next == nil)
    }

    @Test("The entries of one slot are independent")
    func several() {
        var deadlines = StreamDeadlines()
        for due in [5, 3, 5] { deadlines.insert(1, due: tick(due)) }
        var dues: [Tick] = []
        while let (_, due) = deadlines.popDue(now: tick(5)) { dues.append(due) }
        #expect(dues == [tick(3), tick(5), tick(5)])
    }
}
