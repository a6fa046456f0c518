import Domain
import Foundation
import Logging
import Polling
import Store
import Synchronization

/// What one upload has been granted of its user's limits, from before its first byte to its end.
///
/// It is charged with the most that it may have, as long as it lasts, and then with what came. So any number that come at once
/// stay within the limits together, and what is refused or breaks off costs no more than it was.
final class UploadAllowance: Sendable {
    private struct State {
        var bytes: Int64 = 0
        var isBegun = false
        var keeper: Task<Void, Never>?
    }

    /// Names the upload.
    let id = UUID()
    private let charges: UploadChargeStore
    private let clock: any MonotonicClock
    private let logger: Logger
    private let state = Mutex(State())

    private init(charges: UploadChargeStore, clock: any MonotonicClock, logger: Logger) {
        self.charges = charges
        self.clock = clock
        self.logger = logger
    }

    /// Lends an allowance for the most bytes that the upload may have.
    ///
    /// The body begins the upload, and brings it to its end.
    ///
    /// - Throws: A 429 when a limit is reached; what `body` throws.
    static func with<Result>(
        of user: UserID, bytes: Int64, limits: UploadLimits, charges: UploadChargeStore, metrics: UploadMetrics,
        clock: any MonotonicClock, logger: Logger, _ body: (UploadAllowance) async throws -> Result
    ) async throws -> Result {
        let allowance = UploadAllowance(charges: charges, clock: clock, logger: logger)
        do {
            try await charges.charge(allowance.id, of: user, bytes: bytes, limits: limits)
        } catch let refusal as UploadRefusal {
            metrics.refused(by: refusal.limit)
            throw Problem(refusal, limits)
        } catch {
            // The answer may be lost, and the charge made.
            await allowance.end()
            throw error
        }
        allowance.keep()
        do {
            let result = try await body(allowance)
            await allowance.end()
            return result
        } catch {
            await allowance.end()
            throw error
        }
    }

    /// Says that the upload is let in: from now on it counts, whatever becomes of it.
    func begin() { state.withLock { $0.isBegun = true } }

    /// Takes note of bytes that came.
    func received(_ count: Int) { state.withLock { $0.bytes += Int64(count) } }

    /// Has the charge kept open.
    ///
    /// Unstructured, since it goes on beside whatever the upload does; ``end()`` ends it.
    private func keep() {
        let (charges, id, clock) = (charges, id, clock)
        let keeper = Task {
            while true {
                do { try await clock.sleep(for: UploadChargeStore.lease / 3) } catch { return }
                // The next one may succeed, well before it is over.
                try? await charges.keep(id)
            }
        }
        state.withLock { $0.keeper = keeper }
    }

    /// When the end of an upload is said again that could not be said: as long as a database takes to come back.
    private static let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(20), .seconds(60)]

    private func end() async {
        let (bytes, keeper) = state.withLock { ($0.isBegun ? $0.bytes : nil, $0.keeper) }
        keeper?.cancel()
        await keeper?.value
        let (charges, id, clock, logger) = (charges, id, clock, logger)
        // In tasks of their own: when the client has gone, this one is cancelled, and its answer waits for one try alone.
        let isSaid = await Task { (try? await charges.end(id, bytes: bytes)) != nil }.value
        if isSaid { return }
        Task {
            for pause in Self.pauses {
                try? await clock.sleep(for: pause)
                if (try? await charges.end(id, bytes: bytes)) != nil { return }
            }
            // It counts as under way for a little longer, and for a day with the most that it could have had.
            logger.warning("an upload's charge could not be corrected", metadata: ["upload": "\(id)"])
        }
    }
}

extension Problem {
    /// Why an upload may not begin, and what to do.
    fileprivate init(_ refusal: UploadRefusal, _ limits: UploadLimits) {
        let detail =
            switch refusal.limit {
            case .atOnce:
                "You may upload \(limits.atOnce) recordings at the same time. Wait until one of them has arrived."
            case .perHour: "You may upload \(limits.perHour) recordings in an hour. Try again later."
            case .bytesPerDay:
                "You may upload \(limits.bytesPerDay) bytes in 24 hours, and this recording would be beyond that. "
                    + "Try again later, or send a Content-Length if you sent none: without it, the largest recording is counted."
            }
        self = Problem.limited(detail, wait: refusal.wait).closing()
    }
}
