import Foundation
public import Testing

/// Holds a property against many cases, each drawn from a seed of its own; the first that it does not hold for is an
/// issue.
///
/// `FUZZ_CASES=100` tries a hundred times as many, of seeds beyond the usual ones; `FUZZ_SEED=7` tries that seed alone.
///
/// - Parameters:
///   - cases: How many, in a usual run.
///   - sourceLocation: Where the issue is recorded.
///   - counterexample: Draws a case and tells what is wrong with it; nil when it holds.
public func holds(
    forCases cases: Int, sourceLocation: SourceLocation = #_sourceLocation,
    counterexample: (inout SeededGenerator) throws -> String?
) rethrows {
    for seed in seeds(cases) {
        var generator = SeededGenerator(seed: seed)
        if let found = try counterexample(&generator) { return record(found, seed, sourceLocation) }
    }
}

/// The same for a property that is waited for.
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
