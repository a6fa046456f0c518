import Domain

/// Decides when a worker may claim the next session.
///
/// It pauses a worker whose installation is at fault, longer with each fault in a row. It lets a worker take one session a
/// minute when recordings of several patients in a row have failed at the same stage: the stage is broken, and would fail the
/// whole queue. A value without clock and tasks: times are durations since the start of the worker.
struct WorkerBrake {
    /// How the work on a session ended.
    enum Outcome: Equatable {
        /// The session is processed.
        case processed
        /// The recording failed at a stage, in its last attempt or an earlier one.
        case failed(PipelineStage)
        /// The installation is at fault.
        case installationFault
        /// Neither the stages nor the installation have shown anything.
        case other
    }

    /// What the brake did because of an outcome.
    enum Change: Equatable {
        /// The worker pauses for this time.
        case paused(Duration)
        /// From now on the worker takes one session a minute.
        case tripped(PipelineStage)
        /// The worker works again without a brake.
        case released
    }

    /// The first pause after a fault of the installation.
    ///
    /// Each further fault doubles it.
    static let firstPause = Duration.seconds(1)
    /// The longest pause.
    static let longestPause = Duration.seconds(30)
    /// How many patients' recordings have to fail in a row.
    static let patientsToTrip = 5
    /// The time between two claims of a worker whose stage is broken.
    static let slowInterval = Duration.seconds(60)

    /// How many faults of the installation have come in a row.
    private var faults = 0
    /// The end of the present pause.
    private var pauseEnd: Duration?
    /// The patients whose recordings have failed at one stage in a row, without an end in between.
    private var failures: (stage: PipelineStage, patients: Set<UserID>)?
    /// The last claim.
    private var lastClaim: Duration?

    /// The stage that fails all recordings, or nil.
    var brokenStage: PipelineStage? {
        guard let failures, failures.patients.count >= Self.patientsToTrip else { return nil }
        return failures.stage
    }

    /// True while a fault of the installation is the last thing that is known.
    var hasFault: Bool { faults > 0 }

    /// Notes a claim.
    ///
    /// - Parameter now: The present time.
    mutating func claimed(at now: Duration) { lastClaim = now }

    /// Notes the end of the work on a session.
    ///
    /// - Parameters:
    ///   - outcome: How the work ended.
    ///   - patient: The patient of the session, or nil if unknown. A failure of an unknown patient does not trip the brake.
    ///   - now: The present time.
    /// - Returns: What the brake did, or nil.
    mutating func ended(_ outcome: Outcome, of patient: UserID?, at now: Duration) -> Change? {
        let wasBraked = hasFault || brokenStage != nil
        switch outcome {
        case .processed:
            (faults, pauseEnd, failures) = (0, nil, nil)
            return wasBraked ? .released : nil
        case .installationFault:
            let pause = min(Self.firstPause * (1 << min(faults, 10)), Self.longestPause)
            faults += 1
            pauseEnd = now + pause
            return .paused(pause)
        case .failed(let stage):
            // A stage ran: the installation works.
            (faults, pauseEnd) = (0, nil)
            let wasTripped = brokenStage == stage
            if failures?.stage != stage { failures = (stage, []) }
            if let patient { failures?.patients.insert(patient) }
            if let broken = brokenStage { return wasTripped ? nil : .tripped(broken) }
            return wasBraked ? .released : nil
        case .other: return nil
        }
    }

    /// How long the worker has to wait before its next claim.
    ///
    /// - Parameter now: The present time.
    /// - Returns: The time; zero if it may claim at once.
    func wait(at now: Duration) -> Duration {
        var end = pauseEnd ?? now
        if brokenStage != nil, let lastClaim { end = max(end, lastClaim + Self.slowInterval) }
        return max(end - now, .zero)
    }
}
