import Foundation
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import App

@Suite("The look at the folder of recordings", .deadline) struct FolderProbeTests {
    @Test("A file system that does not answer keeps one thread, and no caller beyond its patience")
    func silent() async throws {
        let clock = ManualClock()
        let gate = DispatchSemaphore(value: 0)
        let looks = Mutex(0)
        let probe = FolderProbe(clock: clock) {
            looks.withLock { $0 += 1 }
            gate.wait()
            return true
        }
        async let first = probe.answer(within: .seconds(2))
        async let second = probe.answer(within: .seconds(2))
        try await clock.waitForSleepers(2)
        clock.advance(by: .seconds(2))
        #expect(await first == .silent)
        #expect(await second == .silent)
        async let third = probe.answer(within: .seconds(2))
        try await clock.waitForSleepers(1)
        #expect(looks.withLock { $0 } == 1)
        gate.signal()
        #expect(await third == .usable)
    }

    @Test("A folder that is missing cannot be used, and one that is there can")
    func folders() async throws {
        let folder = URL.temporaryDirectory.appending(path: "probe-\(UUID())")
        let probe = FolderProbe(path: folder.path(percentEncoded: false), clock: ContinuousClock())
        #expect(await probe.answer(within: TestDeadline.event) == .unusable)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        #expect(await probe.answer(within: TestDeadline.event) == .usable)
    }
}
