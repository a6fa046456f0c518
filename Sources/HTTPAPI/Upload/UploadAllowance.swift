import Domain
import FoundationEssentials
import Logging
import Polling
import Store
import Synchronization

/// The part of a user's limits that one upload holds, from before its first byte to its end.
///
/// While the upload lasts, it is charged with its maximum size, and afterwards with the bytes that arrived. Parallel
/// uploads therefore stay within the limits together. An upload that is refused or breaks off costs only what arrived.
final class UploadAllowance: Sendable {
    private struct State {
        var bytes: Int64 = 0
        /// When bytes last arrived; nil once all have, and the client has nothing more to say.
        var heardAt: ContinuousClock.Instant?
        var isBegun = false
        var keeper: Task<Void, Never>?
    }

    /// Identifies the upload.
    let id = UUID()
    private let charges: UploadChargeStore
    private let clock: any MonotonicClock
    private let logger: Logger
    private let state = Mutex(State())

    private init(charges: UploadChargeStore, clock: any MonotonicClock, logger: Logger) {
        self.charges = charges
        self.clock = clock
        self.logger = logger
        state.withLock { $0.heardAt = clock.now }
    }

    /// Runs `body` with an allowance for the maximum size of an upload.
    ///
    /// The body calls ``begin()`` once it admits the upload.
    ///
    /// - Parameters:
    ///   - user: The user who uploads.
    ///   - bytes: The maximum size.
    ///   - limits: The limits of the user.
    ///   - charges: Stores the charges.
    ///   - metrics: Counts rejected uploads.
    ///   - clock: Times the extension of the charge.
    ///   - logger: Takes the log.
    ///   - body: Receives the upload.
    /// - Returns: The result of `body`.
    /// - Throws: A 429 at a limit; the errors of `body` and of the database.
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
            // The database may have made the charge, although its answer was lost.
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

    /// Admits the upload: from now on its bytes count, whatever its end.
    func begin() { state.withLock { $0.isBegun = true } }

    /// Counts bytes that arrived.
    func received(_ count: Int) {
        let now = clock.now
        state.withLock { state in
            state.bytes += Int64(count)
            if state.heardAt != nil { state.heardAt = now }
        }
    }

    /// Notes that the whole recording has arrived: the server is at work, and the connection is not silent.
    func allArrived() { state.withLock { $0.heardAt = nil } }

    /// For how long no byte has arrived.
    private var silence: Duration { state.withLock { $0.heardAt }.map { clock.now - $0 } ?? .zero }

    /// How often the charge is extended.
    ///
    /// A repeat of the upload may take over from one that is silent.
    private static let beatInterval = Duration.seconds(1)

    /// Keeps the charge open until ``end()``.
    ///
    /// The task is unstructured because it runs beside the upload.
    private func keep() {
        let (charges, id, clock) = (charges, id, clock)
        let keeper = Task {
            while true {
                do { try await clock.sleep(for: Self.beatInterval) } catch { return }
                // The next try may succeed, long before the charge expires.
                try? await charges.keep(id, silentFor: silence)
            }
        }
        state.withLock { $0.keeper = keeper }
    }

    /// The pauses between tries to correct the charge: about as long as a database takes to return.
    private static let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(20), .seconds(60)]

    private func end() async {
        let (bytes, keeper) = state.withLock { ($0.isBegun ? $0.bytes : nil, $0.keeper) }
        keeper?.cancel()
        await keeper?.value
        let (charges, id, clock, logger) = (charges, id, clock, logger)
        // Both tasks are unstructured. After a disconnect this task is cancelled, and the answer waits for the first
        // try only.
        let isSaid = await Task { (try? await charges.end(id, bytes: bytes)) != nil }.value
        if isSaid { return }
        Task {
            for pause in Self.pauses {
                try? await clock.sleep(for: pause)
                if (try? await charges.end(id, bytes: bytes)) != nil { return }
            }
            // The upload stops counting as one whose server has died: the database does not know what arrived.
            logger.warning("cannot correct the charge of an upload", metadata: ["upload": "\(id)"])
        }
    }
}

extension Problem {
    /// The problem for an upload beyond a limit.
    init(_ refusal: UploadRefusal, _ limits: UploadLimits) {
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
