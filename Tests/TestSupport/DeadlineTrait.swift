import Foundation
import Synchronization
public import Testing

/// Runs a limited number of tests at once, and fails each that takes too long.
///
/// All tests of a process start together. A machine with two cores is better off with a few at a time than with a
/// thousand, and the deadline of a test counts from the moment at which it really runs.
public struct DeadlineTrait: TestTrait, SuiteTrait, TestScoping {
    /// All tests of the process share it.
    private static let gate = TestGate(width: 12)

    let limit: Duration

    public var isRecursive: Bool { true }

    public func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.gate.enter()
        defer { Self.gate.leave() }
        let begin = ContinuousClock.now
        defer { TestDurations.note(test, ContinuousClock.now - begin) }
        // A test that does not even end when it is cancelled would keep the whole run waiting without a word.
        let last = Task {
            try await ContinuousClock().sleep(for: limit + TestDeadline.event)
            fatalError("\(test.name) at \(test.sourceLocation) goes on although it was cancelled after \(limit)")
        }
        defer { last.cancel() }
        let location = test.sourceLocation
        try await within("the end of the test", limit: limit, fileID: location.fileID, line: location.line) {
            try await function()
        }
    }
}

extension Trait where Self == DeadlineTrait {
    /// For tests that wait for anything: a connection, a process, a signal.
    public static var deadline: Self { Self(limit: TestDeadline.test) }

    /// For tests that take long on purpose; `TEST_SLOWNESS` multiplies the limit.
    public static func deadline(_ limit: Duration) -> Self { Self(limit: limit * TestDeadline.slowness) }
}

/// How long each test took once it ran, in the file that the environment variable `TEST_DURATIONS` names.
///
/// What the test library prints counts the wait for the gate, too.
private enum TestDurations {
    private static let file = Mutex(
        ProcessInfo.processInfo.environment["TEST_DURATIONS"].flatMap { path in
            FileManager.default.createFile(atPath: path, contents: nil) ? FileHandle(forWritingAtPath: path) : nil
        })

    static func note(_ test: Test, _ duration: Duration) {
        file.withLock { file in
            let name = test.displayName ?? test.name
            file?.write(Data("\(duration / .seconds(1))\t\(test.sourceLocation.fileID)\t\(name)\n".utf8))
        }
    }
}
