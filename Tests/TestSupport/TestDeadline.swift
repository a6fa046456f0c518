import Foundation

/// How long tests wait for an event that comes at once on a fast machine.
///
/// The environment variable `TEST_SLOWNESS` multiplies all limits: 1 by default, 3 for a machine that is three times as
/// slow as a laptop.
public enum TestDeadline {
    /// The factor for a slow machine.
    public static let slowness: Double = {
        guard let text = ProcessInfo.processInfo.environment["TEST_SLOWNESS"] else { return 1 }
        guard let factor = Double(text), factor > 0 else {
            fatalError("TEST_SLOWNESS is not a positive number: \(text)")
        }
        return factor
    }()

    /// The longest wait for one event: an answer, a connection, an event on a stream, a condition; 30 s.
    public static let event: Duration = .seconds(30) * slowness

    /// The longest time that a whole test may take once it runs; 120 s.
    public static let test: Duration = .seconds(120) * slowness
}

/// An event that a test waited for did not happen in time.
public struct DidNotHappen: Error, CustomStringConvertible {
    /// What was waited for.
    public let what: String
    /// How long the test waited.
    public let limit: Duration
    /// The wait's place in the source, as in `ServerTests/WorkerTests.swift:58`.
    public let place: String

    init(_ what: String, after limit: Duration, fileID: String, line: Int) {
        self.what = what
        self.limit = limit
        place = "\(fileID):\(line)"
    }

    /// What was waited for, for how long, and where.
    public var description: String { "\(what): not within \(limit), waited for at \(place)" }
}
