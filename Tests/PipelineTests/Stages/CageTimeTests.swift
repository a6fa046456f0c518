import Cage
import Foundation
import TestSupport
import TestTime
import Testing

@testable import Pipeline

/// The processor time of a stage: its time limit on all processors.
@Suite("The processor time of a stage", .deadline) struct CageTimeTests {
    /// The clock of the time limit stands still.
    ///
    /// Only the kernel can end these stages.
    @Test("A stage that has used its processor time is killed, and so is a child of it that does the work")
    func isKilled() async throws {
        for script in ["while :; do :; done", "(while :; do :; done); kill -9 $$"] {
            var command = try StageCommand("/bin/sh -c '\(script)' sh", setting: "TEST", title: "transcription")
            command.timeout = .seconds(1)
            command.clock = ManualClock()
            command.cage.processors = 2
            let stage = command
            let failure = await #expect(throws: StageFailure.self, "\(script)") {
                try await stage.run(recording: "/nowhere/recording") { _ in }
            }
            #expect(failure?.code == .killed, "\(script)")
            // Another machine may be faster: the session is tried again.
            #expect(failure?.fault == .run, "\(script)")
        }
    }
}
