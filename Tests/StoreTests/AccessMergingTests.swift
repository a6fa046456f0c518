import Domain
import Testing

@testable import Store

/// Which accesses the audit log records at once, and which it counts.
///
/// Time is a parameter.
@Suite struct AccessMergingTests {
    private let start = ContinuousClock.now
    private let patient = Principal(user: .random(), signIn: .random())
    private let session = SessionID.random()
    private let network = ClientNetwork(address: [192, 0, 2, 1])

    private func access(_ action: AuditAction = .openStream) -> AuditedAccess {
        AuditedAccess(action, by: patient, session: session, from: network)
    }

    private func after(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

    /// An access as the stores make it: it is recorded, or counted.
    ///
    /// - Returns: True if it is recorded.
    private func make(
        _ access: AuditedAccess, isAllowed: Bool = true, at seconds: Double, in merging: inout AccessMerging
    ) -> Bool {
        guard merging.isFirst(access, isAllowed: isAllowed, at: after(seconds)) else {
            merging.repeated(access, isAllowed: isAllowed, at: after(seconds))
            return false
        }
        merging.recorded(access, isAllowed: isAllowed, at: after(seconds))
        return true
    }

    /// Whether an allowed access needs a record of its own.
    private func isFirst(
        _ access: AuditedAccess, at moment: ContinuousClock.Instant, in merging: inout AccessMerging
    ) -> Bool {
        merging.isFirst(access, isAllowed: true, at: moment)
    }

    @Test("The first access is recorded, and its repeats within ten minutes are one record")
    func repeats() {
        var merging = AccessMerging()
        #expect(make(access(), at: 0, in: &merging))
        for second in [1, 300, 599.9] { #expect(!make(access(), at: second, in: &merging)) }
        #expect(merging.takeEnded(at: after(599.9)) == [])
        #expect(
            merging.takeEnded(at: after(600)) == [
                RepeatedAccess(access: access(), isAllowed: true, count: 3, first: after(1), last: after(599.9))
            ])
        #expect(merging.takeEnded(at: after(5000)) == [], "each repeat is recorded once")
        #expect(make(access(), at: 600, in: &merging), "the next access is a first one")
    }

    @Test("A first access without repeats leaves no second record")
    func alone() {
        var merging = AccessMerging()
        #expect(make(access(), at: 0, in: &merging))
        #expect(merging.takeEnded(at: after(600)) == [])
        #expect(merging.kinds == 0)
    }

    @Test("Another sign-in, action, session, patient, outcome or address is another kind of access")
    func kinds() {
        var merging = AccessMerging()
        let base = access()
        var others: [AuditedAccess] = []
        for change: (inout AuditedAccess) -> Void in [
            { $0.principal.signIn = .random() }, { $0.principal.user = .random() }, { $0.action = .resumeStream },
            { $0.session = .random() }, { $0.session = nil }, { $0.patient = .random() }, { $0.network = nil },
            { $0.network = ClientNetwork(address: [192, 0, 2, 2]) },
        ] {
            var other = base
            change(&other)
            others.append(other)
        }
        #expect(make(base, at: 0, in: &merging))
        #expect(make(base, isAllowed: false, at: 0, in: &merging))
        for other in others { #expect(make(other, at: 0, in: &merging)) }
        for other in others + [base] { #expect(!make(other, at: 1, in: &merging)) }
    }

    @Test("Two addresses with the same first 64 bits of IPv6 are one network, and two of IPv4 are two")
    func networks() {
        let first = ClientNetwork(address: [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8])
        let second = ClientNetwork(address: [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 7, 8, 7, 6, 5, 4, 3, 2, 1])
        let third = ClientNetwork(address: [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])
        #expect(first == second)
        #expect(first != third)
        #expect(network != ClientNetwork(address: [192, 0, 2, 2]))
        // The same bits mean two networks.
        #expect(
            ClientNetwork(address: [0, 0, 0, 1])
                != ClientNetwork(address: [0, 0, 0, 0, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 8)))
    }

    @Test("Each change has a record of its own, and refused changes are merged")
    func changes() {
        var merging = AccessMerging()
        for action in AuditAction.allCases where !action.isMerged {
            for second in 0..<3 { #expect(make(access(action), at: Double(second), in: &merging), "\(action)") }
            #expect(make(access(action), isAllowed: false, at: 0, in: &merging), "\(action)")
            #expect(!make(access(action), isAllowed: false, at: 1, in: &merging), "\(action)")
        }
        for action in AuditAction.allCases where action.isMerged {
            #expect(make(access(action), at: 0, in: &merging), "\(action)")
            #expect(!make(access(action), at: 1, in: &merging), "\(action)")
        }
    }

    @Test("An access whose record is not written yet merges nothing")
    func unrecorded() {
        var merging = AccessMerging()
        #expect(isFirst(access(), at: start, in: &merging))
        // The statement is under way, or has failed.
        #expect(isFirst(access(), at: start, in: &merging))
        merging.recorded(access(), isAllowed: true, at: start)
        #expect(!isFirst(access(), at: start, in: &merging))
        // A second request came before the record of the first. Both have a record, and the window begins with the first.
        merging.recorded(access(), isAllowed: true, at: after(5))
        #expect(isFirst(access(), at: after(600), in: &merging))
    }

    @Test("A repeat that comes to its end after the window is recorded with the next round")
    func late() {
        var merging = AccessMerging()
        #expect(make(access(), at: 0, in: &merging))
        #expect(!isFirst(access(), at: after(599), in: &merging))
        #expect(merging.takeEnded(at: after(601)) == [])
        merging.repeated(access(), isAllowed: true, at: after(602))
        #expect(merging.takeEnded(at: after(602)).map(\.count) == [1])
        #expect(isFirst(access(), at: after(603), in: &merging))
    }

    @Test("Repeats whose record fails are given back, and recorded once")
    func givenBack() {
        var merging = AccessMerging()
        #expect(make(access(), at: 0, in: &merging))
        #expect(!make(access(), at: 1, in: &merging))
        let taken = merging.takeEnded(at: after(600))
        #expect(taken.count == 1)
        merging.giveBack(taken)
        #expect(merging.takeEnded(at: after(601)) == taken)
        #expect(merging.takeEnded(at: after(602)) == [])
    }

    @Test("No window is longer than ten minutes, in whatever order the accesses of several batches settle")
    func order() {
        var merging = AccessMerging()
        let kinds = (0..<4).map { _ in AuditedAccess(.readStatus, by: patient, session: .random(), from: network) }
        for (kind, second) in zip(kinds, [3.0, 6, 5, 7]) {
            merging.recorded(kind, isAllowed: true, at: after(second))
        }
        for kind in kinds { #expect(!isFirst(kind, at: after(602), in: &merging)) }
        #expect(isFirst(kinds[0], at: after(603), in: &merging))
        #expect(isFirst(kinds[2], at: after(605), in: &merging))
        #expect(isFirst(kinds[1], at: after(606), in: &merging))
        #expect(!isFirst(kinds[3], at: after(606.9), in: &merging))
        #expect(isFirst(kinds[3], at: after(607), in: &merging))
        #expect(merging.kinds == 0)
    }

    @Test("Past 100,000 kinds in memory, every access of another kind is recorded")
    func full() {
        var merging = AccessMerging()
        func other(_ number: Int) -> AuditedAccess {
            var other = access()
            other.network = ClientNetwork(address: (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) })
            return other
        }
        for number in 0..<100_000 { #expect(make(other(number), at: 0, in: &merging)) }
        for _ in 0..<3 { #expect(make(other(100_000), at: 1, in: &merging)) }
        #expect(merging.kinds == 100_000)
        #expect(!make(other(99_999), at: 1, in: &merging), "a kind in memory is merged as ever")
        // The windows end, and make room.
        #expect(make(other(100_000), at: 601, in: &merging))
        #expect(!make(other(100_000), at: 602, in: &merging))
        #expect(merging.kinds == 1)
    }

    @Test("After the end, the repeats so far are recorded, and every access at once")
    func close() {
        var merging = AccessMerging()
        #expect(make(access(), at: 0, in: &merging))
        #expect(!make(access(), at: 1, in: &merging))
        merging.close()
        #expect(merging.takeEnded(at: after(2)).map(\.count) == [1])
        for _ in 0..<3 { #expect(make(access(), at: 3, in: &merging)) }
        #expect(merging.takeEnded(at: after(5000)) == [])
    }

    @Test("No access is lost: the records stand for as many accesses as were made", arguments: 0..<20 as Range<UInt64>)
    func nothingLost(seed: UInt64) {
        var generator = Generator(state: seed)
        var merging = AccessMerging(limits: .init(window: .seconds(600), kinds: 5))
        let accesses = (0..<8).map { _ in AuditedAccess(.readStatus, by: patient, session: .random(), from: network) }
        var (made, recorded, second) = (0, 0, 0.0)
        for _ in 0..<3000 {
            second += Double(generator.next() % 40)
            switch generator.next() % 20 {
            case 0: recorded += merging.takeEnded(at: after(second)).reduce(0) { $0 + Int($1.count) }
            case 1: merging.giveBack(merging.takeEnded(at: after(second)))
            default:
                let access = accesses[Int(generator.next() % 8)]
                made += 1
                if make(access, isAllowed: generator.next() % 4 > 0, at: second, in: &merging) { recorded += 1 }
                #expect(merging.kinds <= 5)
            }
        }
        merging.close()
        recorded += merging.takeEnded(at: after(second)).reduce(0) { $0 + Int($1.count) }
        #expect(recorded == made)
    }

    /// SplitMix64.
    private struct Generator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
            return value ^ (value >> 31)
        }
    }
}
