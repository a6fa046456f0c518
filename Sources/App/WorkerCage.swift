import Cage
import HTTPAPI
import Logging
import Metrics
import Pipeline
import Recordings
import SettingsReading

/// The cage of this host: tries it, tells about it, and refuses to work without it where the operator wants it.
struct WorkerCage: Sendable {
    private let inspection: CageInspection

    /// Tries the cage, and puts the stages into it.
    ///
    /// - Parameters:
    ///   - stages: The stages. Afterwards no stage starts with less than what was found.
    ///   - settings: The settings of the process.
    ///   - logger: Receives one line for each layer that is missing.
    /// - Throws: ``SettingError`` when the settings require a cage that this host does not have, or name a wrong folder.
    init(enclosing stages: inout PipelineStages, _ settings: Settings, logger: Logger) async throws {
        var cage: Cage
        (cage, inspection) = try await Self.findCage(for: stages)
        try Self.check(inspection, settings.stages)
        cage.required = inspection.mechanisms
        stages.enclose(
            in: try settings.stages.stageCage(
                cage, uploads: settings.recordings.directory, workDirectory: stages.workDirectory,
                secrets: settings.stageFiles.secrets))
        for layer in inspection.layers where !layer.isActive {
            logger.warning(
                "a layer of the cage around stages is missing",
                metadata: ["layer": "\(layer.layer.rawValue)", "reason": "\(layer.reason)"])
        }
    }

    private static func findCage(for stages: PipelineStages) async throws -> (Cage, CageInspection) {
        do {
            return try await stages.findCage()
        } catch {
            throw CommandFailure("the launcher of stages cannot be started: \(error)")
        }
    }

    private static func check(_ inspection: CageInspection, _ settings: StageSettings) throws(SettingError) {
        guard settings.isCageRequired, !inspection.keepsRecordingsApart else { return }
        let reason = inspection.layers.first { $0.layer == .files }?.reason ?? ""
        throw SettingError(
            StageSettings.cageName,
            "is required, and this host cannot keep a stage from other recordings (\(reason)); use a kernel with Landlock or "
                + "user namespaces, or set it to auto")
    }

    /// What the endpoint of readiness tells about the cage.
    var details: [ReadinessDetail] {
        inspection.layers.map {
            ReadinessDetail(name: "cage: \($0.layer.rawValue)", isGood: $0.isActive, text: $0.reason)
        }
    }

    /// Sets the metric of each layer.
    func record(in metrics: any MetricsFactory) {
        for layer in inspection.layers {
            Gauge(
                label: "therapybridge_cage_layer", dimensions: [("layer", layer.layer.rawValue)], factory: metrics
            ).record(layer.isActive ? 1 : 0)
        }
    }
}

/// The body of `therapybridge cage`.
public enum CageOverview {
    /// Tries the cage of this host.
    ///
    /// - Returns: One line for each layer: its name, `active` or `missing`, and what it rests on or why it is missing,
    ///   separated by tabs; then whether a worker would start.
    /// - Throws: ``SettingError`` for a wrong setting; an error when the trial cannot be made.
    public static func lines() async throws -> (lines: [String], startsWorker: Bool) {
        let reader = SettingsReader()
        let settings = try StageSettings(reader)
        let stages = try PipelineStages(try PipelineSettings(reader), program: "therapybridge")
        let inspection = try await stages.findCage().inspection
        let lines = inspection.layers.map { layer in
            "\(layer.layer.rawValue)\t\(layer.isActive ? "active" : "missing")\t\(layer.reason)"
        }
        return (lines, inspection.keepsRecordingsApart || !settings.isCageRequired)
    }
}
