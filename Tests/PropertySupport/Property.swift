import Foundation
public import Testing

/// Checks a property on many cases, each drawn from its own seed.
///
/// Records the first counterexample as an issue.
///
/// `FUZZ_CASES=100` tries a hundred times as many cases, with further seeds. `FUZZ_SEED=7` tries only that seed.
///
/// - Parameters:
///   - cases: The number of cases without `FUZZ_CASES`.
///   - sourceLocation: The location of the issue.
///   - counterexample: Draws a case, and returns the fault; nil if the property holds.
public func holds(
    forCases cases: Int, sourceLocation: SourceLocation = #_sourceLocation,
    counterexample: (inout SeededGenerator) throws -> String?
) rethrows {
    for seed in seeds(cases) {
        var generator = SeededGenerator(seed: seed)
        if let found = try counterexample(&generator) { return record(found, seed, sourceLocation) }
    }
}

/// Checks an asynchronous property on many cases.
///
/// - Parameters:
///   - cases: The number of cases without `FUZZ_CASES`.
///   - sourceLocation: The location of the issue.
///   - counterexample: Draws a case, and returns the fault; nil if the property holds.
public func holds(
    forCases cases: Int, sourceLocation: SourceLocation = #_sourceLocation,
    counterexample: (inout SeededGenerator) async throws -> String?
) async rethrows {
    for seed in seeds(cases) {
        var generator = SeededGenerator(seed: seed)
        if let found = try await counterexample(&generator) { return record(found, seed, sourceLocation) }
    }
}

private func seeds(_ cases: Int) -> ClosedRange<UInt64> {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["FUZZ_SEED"].flatMap({ UInt64($0) }) { return seed...seed }
    return 1...max(1, UInt64(cases) * (environment["FUZZ_CASES"].flatMap { UInt64($0) } ?? 1))
}

private func record(_ counterexample: String, _ seed: UInt64, _ sourceLocation: SourceLocation) {
    Issue.record("FUZZ_SEED=\(seed): \(counterexample)", sourceLocation: sourceLocation)
}
