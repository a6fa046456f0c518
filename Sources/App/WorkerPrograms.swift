import HTTPAPI
import Logging
import Pipeline

/// The programs of the stages, as the operator sees them: at the start, and whenever somebody asks for the readiness.
struct WorkerPrograms: Sendable {
    private let stages: PipelineStages

    /// Tells about the programs of stages.
    ///
    /// - Parameter stages: The stages, in their cages.
    init(of stages: PipelineStages) {
        self.stages = stages
    }

    /// Logs an error for each program that cannot be started.
    ///
    /// The worker starts all the same: the program may lie on a volume that is mounted later.
    func logFaults(to logger: Logger) {
        for program in stages.programs() {
            guard let fault = program.fault else { continue }
            logger.error(
                "the program of a stage cannot be started",
                metadata: ["setting": "\(program.setting)", "reason": "\(fault)"])
        }
    }

    /// What the endpoint of readiness tells about the programs now.
    var details: [ReadinessDetail] {
        stages.programs().map {
            ReadinessDetail(name: "program: \($0.setting)", isGood: $0.fault == nil, text: $0.fault ?? "can be started")
        }
    }
}
