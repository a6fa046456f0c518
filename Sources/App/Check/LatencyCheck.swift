import FoundationEssentials
public import Polling
import TherapyBridgeClient

import struct Domain.Timestamp

/// Measures a server from outside: from the commit of a change to its event on a stream.
///
/// The check begins a probe (`POST /api/probes`), opens its stream, reports percentages, and removes the probe. The probe is a
/// session that nobody else sees. A check that is killed leaves it behind, and the server removes it after 5 minutes.
public struct LatencyCheck: Sendable {
    /// The number of changes.
    static let changes = 40

    /// The pause between two changes.
    ///
    /// The server announces a percentage at once only if the last announcement is half a second old.
    private static let pause = Duration.milliseconds(550)

    /// The longest time that an event may take.
    ///
    /// After that, the fallback poll and the heartbeats of the stream have failed, too.
    private static let limit = Duration.seconds(20)

    private let url: String
    private let token: String
    private let clock: any MonotonicClock

    /// A check of a server.
    ///
    /// - Parameters:
    ///   - url: The server, such as `https://bridge.example.org`.
    ///   - token: An administrator's access token. It has to last for half a minute.
    ///   - clock: Measures the times.
    public init(url: String, token: String, clock: any MonotonicClock = ContinuousClock()) {
        self.url = url
        self.token = token
        self.clock = clock
    }

    /// Runs the check.
    ///
    /// - Returns: The times.
    /// - Throws: ``CommandFailure`` if the server cannot be reached, refuses the token, has no probes, or shows a change on no
    ///   stream; `CancellationError`.
    public func run() async throws -> LatencySummary {
        do {
            return try await TherapyBridge.withClient(of: url, tokens: TokenPair(access: token, refresh: nil)) {
                bridge in
                let probe = try await bridge.request("POST", "/api/probes", as: Probe.self).id
                do {
                    let summary = try await measure(probe, by: bridge)
                    try await bridge.request("DELETE", "/api/sessions/\(probe)")
                    return summary
                } catch {
                    // The first error is the one that matters.
                    _ = try? await bridge.request("DELETE", "/api/sessions/\(probe)")
                    throw error
                }
            }
        } catch let error as APIError {
            throw CommandFailure(Self.words(for: error))
        } catch let error as WatchEnded {
            throw CommandFailure("the stream of the probe has ended: \(error)")
        }
    }

    /// What happens to the changes, in the order in which the check learns of it.
    private enum Occurrence: Sendable {
        case shown(version: Int, at: ContinuousClock.Instant)
        case ended((any Error)?)
        case overdue(version: Int)
    }

    private func measure(_ probe: String, by bridge: TherapyBridge) async throws -> LatencySummary {
        let start = clock.now
        let (occurrences, inlet) = AsyncStream.makeStream(of: Occurrence.self)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                do {
                    for try await progress in bridge.progress(of: probe) {
                        inlet.yield(.shown(version: progress.version, at: clock.now))
                    }
                    inlet.yield(.ended(nil))
                } catch {
                    inlet.yield(.ended(error))
                }
            }
            var arrivals = occurrences.makeAsyncIterator()
            // The time at which the stream has shown a version, or a later one.
            func arrival(of version: Int, _ what: String) async throws -> Duration {
                while let occurrence = await arrivals.next() {
                    switch occurrence {
                    case .shown(let shown, let instant) where shown >= version: return instant - start
                    case .overdue(version: version):
                        throw CommandFailure("\(what) was not on the stream within \(Self.limit)")
                    case .ended(let error):
                        throw error ?? CommandFailure("the stream of the probe has ended")
                    case .shown, .overdue: continue
                    }
                }
                throw CancellationError()
            }
            func expect(_ version: Int) {
                group.addTask {
                    try? await clock.sleep(for: Self.limit)
                    inlet.yield(.overdue(version: version))
                }
            }
            expect(1)
            _ = try await arrival(of: 1, "the probe")
            var samples: [LatencySample] = []
            for number in 1...Self.changes {
                let sent = clock.now
                let body = Data(#"{"status":"transcribing","progress":\#(20 + number)}"#.utf8)
                let report = try await bridge.request(
                    "POST", "/api/sessions/\(probe)/progress", json: body, as: Report.self)
                let answered = clock.now
                guard let committed = Timestamp(rfc3339: report.updatedAt) else {
                    throw CommandFailure("the server's answer has no time in updated_at")
                }
                expect(report.version)
                let shown = try await arrival(of: report.version, "change \(number)")
                samples.append(
                    LatencySample(
                        sent: sent - start, answered: answered - start,
                        committed: .microseconds(committed.microsecondsSinceEpoch), shown: shown))
                try await clock.sleep(for: max(.zero, Self.pause - (clock.now - sent)))
            }
            return LatencySummary(samples)
        }
    }

    private struct Probe: Decodable {
        let id: String
    }

    private struct Report: Decodable {
        let version: Int
        let updatedAt: String

        private enum CodingKeys: String, CodingKey {
            case version
            case updatedAt = "updated_at"
        }
    }

    /// What a refusal means for the person who runs the check.
    private static func words(for error: APIError) -> String {
        switch error.status {
        case 0: "the server cannot be reached: look at --url"
        case 401: "the server does not accept the token: make a new one by \"therapybridge token\""
        case 403: "the token is of no administrator: only they may probe a server"
        case 404, 405: "the server has no probes: its release is older, or --url names another program"
        default: "the server refuses the probe: \(error)"
        }
    }
}
