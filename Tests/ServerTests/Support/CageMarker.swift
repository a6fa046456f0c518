import Foundation

/// The processes of a stage, which gets a text of its test by `PIPELINE_STAGE_ENV`.
struct CageMarker: Sendable {
    private let text = "tb-stage-\(UUID().uuidString)"

    /// The settings that hand the text to the stages of a worker.
    var settings: [String: String] { ["STAGE_MARKER": text, "PIPELINE_STAGE_ENV": "STAGE_MARKER"] }

    /// The processes of stages.
    ///
    /// The worker has the variable, too, and others beside it.
    var stages: [Int32] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { Int32($0) }.filter { number in
            let environment = Self.text("environ", of: number)
            return environment.contains(text) && !environment.contains("PIPELINE_STAGE_ENV")
        }
    }

    /// The launcher of the stages, if it is the parent of one of them.
    var launcher: Int32? {
        stages.lazy.compactMap(Self.parent).first { Self.text("cmdline", of: $0).contains("cage-launcher") }
    }

    private static func parent(of number: Int32) -> Int32? {
        let line = text("status", of: number).split(separator: "\n").first { $0.hasPrefix("PPid:") }
        return line?.split(separator: "\t").last.flatMap { Int32($0) }
    }

    private static func text(_ name: String, of number: Int32) -> String {
        String(decoding: FileManager.default.contents(atPath: "/proc/\(number)/\(name)") ?? Data(), as: UTF8.self)
    }
}
