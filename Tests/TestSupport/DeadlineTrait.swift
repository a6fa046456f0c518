import Foundation
import Synchronization
public import Testing

/// Runs a limited number of tests at once, and fails a test that takes too long.
///
/// All tests of a process start together. A machine with two cores is faster with a few at a time than with a thousand.
/// The deadline of a test counts from the moment at which it really runs.
public struct DeadlineTrait: TestTrait, SuiteTrait, TestScoping {
    /// How many tests run at once.
    private static let width = 12
    /// All tests of the process share it.
    private static let gate = TestGate(width: width)

    let limit: Duration
    /// True if no other test runs beside this one.
    var isAlone = false

    /// Each test of a suite has the trait.
    public var isRecursive: Bool { true }

    /// Runs a test within its deadline.
    ///
    /// - Parameters:
    ///   - test: The test.
    ///   - testCase: The case of the test.
    ///   - function: Runs it.
    /// - Throws: ``DidNotHappen``, or what the test throws.
    public func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let places = isAlone ? Self.width : 1
        await Self.gate.enter(places: places)
        defer { Self.gate.leave(places: places) }
        let begin = ContinuousClock.now
        defer { TestDurations.note(test, ContinuousClock.now - begin) }
        // A test that ignores its cancellation would keep the whole run waiting without a message.
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
    /// For tests that wait for a connection, a process or a signal.
    public static var deadline: Self { Self(limit: TestDeadline.test) }

    /// For tests that hold up the whole process, and with it the clients and servers of other tests.
    public static var deadlineAlone: Self { Self(limit: TestDeadline.test, isAlone: true) }

    /// For tests that take long on purpose.
    ///
    /// - Parameter limit: The deadline, which `TEST_SLOWNESS` multiplies.
    /// - Returns: The trait.
    public static func deadline(_ limit: Duration) -> Self { Self(limit: limit * TestDeadline.slowness) }
}

/// The file with the duration of each test, which the environment variable `TEST_DURATIONS` names.
///
/// The test library's own durations include the wait for the gate.
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
