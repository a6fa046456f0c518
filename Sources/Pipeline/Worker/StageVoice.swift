/// What the watchers of a session read while a stage runs: the words of the stage, or that it is silent.
///
/// A value without I/O. A stage that prints nothing for a while may be stuck, or busy. Its watchers are told once, and read the
/// former words again when the stage prints something.
struct StageVoice {
    /// The name of the stage, in lower case.
    private let title: String
    /// False if the estimates of the stage are left out.
    private let tellsEstimates: Bool
    /// The last words of the stage, or those that stand for them.
    private var message: String
    private var progress = 0
    /// True while the watchers read that the stage is silent.
    private var isSilent = false

    /// Begins a stage.
    ///
    /// - Parameters:
    ///   - title: The name of the stage, in lower case.
    ///   - tellsEstimates: False to leave out the estimates of the stage. The database then estimates.
    init(title: String, tellsEstimates: Bool) {
        self.title = title
        self.tellsEstimates = tellsEstimates
        message = "The \(title) program is at work"
    }

    /// What to report because of the news of the stage, or nil for nothing.
    mutating func words(for update: StageUpdate) -> StageProgress? {
        var report = update.progress
        if let told = update.progress {
            progress = told.progress
            message = told.message ?? message
            if !tellsEstimates { report?.estimatedTimeRemaining = nil }
        }
        switch update.silence {
        case .began(let duration):
            isSilent = true
            // A promise that the stage made before its silence does not hold any more.
            return StageProgress(progress: progress, message: Self.notice(of: title, after: duration))
        case .ended where isSilent:
            isSilent = false
            // A report without a message keeps the present one, which is the notice.
            report = report ?? StageProgress(progress: progress)
            report?.message = message
            return report
        case .ended, nil: return report
        }
    }

    private static func notice(of title: String, after duration: Duration) -> String {
        let minutes = Int((duration / .seconds(60)).rounded())
        let time = minutes >= 2 ? "\(minutes) minutes" : "\(Int((duration / .seconds(1)).rounded(.up))) seconds"
        return "The \(title) program has said nothing for \(time). It may have stalled."
    }
}
