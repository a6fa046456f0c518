import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Pipeline

/// The percentages of the transcriber, for recordings whose headers give no length or a wrong one.
@Suite(.serialized, .deadline) struct StageEndTests {
    @Test(
        "The percentages rise from 0 to 100, whatever the file announces", arguments: ShapedRecording.ofUnknownLength)
    func reachesTheEnd(of recording: ShapedRecording) async throws {
        try await MadeRecordings.with { folder in
            let file = try folder.write(recording.file, try await recording.make())
            let lines = Mutex<[String]>([])
            let status = await TranscribeCommand().transcribe(file: file) { line in
                lines.withLock { $0.append(line) }
            } errorOutput: {
                Issue.record("standard error: \($0)")
            }
            #expect(status == 0)
            let printed = lines.withLock { $0 }
            let percentages = try printed.map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
                .compactMap(\.progress)
            #expect(percentages.first == 0)
            #expect(percentages == percentages.sorted())
            #expect(percentages.last == 100)
            // The end comes right before the result.
            #expect(printed.dropLast().last?.contains(#""progress":100"#) == true)
            #expect(printed.last?.hasPrefix(#"{"result":"#) == true)
            let length = try await folder.measure(file)
            #expect(abs(length.seconds - recording.seconds) < 0.3)
        }
    }

    private struct Line: Decodable {
        var progress: Int?
    }
}
