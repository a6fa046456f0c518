import Foundation
import Glibc

/// The speed and the memory of the upload of a large recording.
struct Upload: Scenario {
    static let name = "upload"
    static let summary = "the upload of a large recording"

    func run(on bed: TestBed) async throws -> [Finding] {
        let bytes = bed.isQuick ? 100_000_000 : 500_000_000
        let recording = bed.scratch.path("recording.wav")
        let copy = bed.scratch.path("copy.wav")
        defer { for path in [recording, copy] { try? FileManager.default.removeItem(atPath: path) } }
        try writeRecording(bytes, to: recording)
        let rounds = bed.isQuick ? 1 : 3
        let (uploads, copies, growth) = try await bed.withServer { server in
            // One-time allocations of the first upload do not count.
            _ = try await send(recording, of: 1, to: server, on: bed, bytes: 1_000_000)
            _ = try await server.figures.settledBytes()
            try server.figures.forgetPeak()
            let before = server.figures.residentBytes
            var (uploads, copies): ([Double], [Double]) = ([], [])
            // Upload and copy take turns, because the speed of a disk changes.
            for round in 1...rounds {
                copies.append(try secondsToCopy(recording, to: copy))
                uploads.append(try await send(recording, of: 1 + round, to: server, on: bed, bytes: bytes))
            }
            return (uploads, copies, server.figures.peakBytes - before)
        }
        let (upload, disk) = (Double(bytes) / 1e6 / uploads.median, Double(bytes) / 1e6 / copies.median)
        let size = Figure(bytes, .bytes)
        return [
            Finding(
                "Upload of a recording of \(size) by curl, until it is stored and in the queue, median of \(rounds)",
                Figure(upload, .megabytesPerSecond), target: .atLeast(disk / 2),
                peers: [
                    PeerFigure(
                        name: "the disk alone (a copy, flushed)",
                        outcome: .measured(Figure(disk, .megabytesPerSecond)))
                ]),
            Finding(
                "Growth of resident memory during these uploads, at its peak", Figure(growth, .bytes),
                target: .atMost(16e6)),
        ]
    }

    /// Writes a WAV file of noise.
    ///
    /// A file system could store silence without writing it.
    private func writeRecording(_ bytes: Int, to path: String) throws {
        func little(_ value: UInt32) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }
        var header = Data("RIFF".utf8) + little(UInt32(bytes - 8)) + Data("WAVEfmt ".utf8)
        // PCM, one channel, 16,000 samples of 2 bytes in a second.
        header += little(16) + little(1 | 1 << 16) + little(16_000) + little(32_000) + little(2 | 16 << 16)
        header += Data("data".utf8) + little(UInt32(bytes - 44))
        try header.write(to: URL(filePath: path))
        let file = try FileHandle(forWritingTo: URL(filePath: path))
        defer { try? file.close() }
        try file.seekToEnd()
        var random = SystemRandomNumberGenerator()
        let noise = Data((0..<1 << 17).flatMap { _ in withUnsafeBytes(of: random.next() as UInt64) { Array($0) } })
        var left = bytes - header.count
        while left > 0 {
            try file.write(contentsOf: noise.prefix(left))
            left -= min(left, noise.count)
        }
        try file.synchronize()
    }

    /// Uploads the first bytes of the file as a recording of a patient.
    ///
    /// - Returns: The duration of the upload in seconds.
    private func send(
        _ recording: String, of patient: Int, to server: BenchServer, on bed: TestBed, bytes: Int
    ) async throws -> Double {
        var file = recording
        if bytes < (try FileManager.default.attributesOfItem(atPath: recording)[.size] as? Int ?? 0) {
            let handle = try FileHandle(forReadingFrom: URL(filePath: recording))
            file = try bed.scratch.write(handle.read(upToCount: bytes) ?? Data(), to: "beginning.wav")
        }
        let token = try await bed.database.tokens(of: .patient, patient..<patient + 1)[0]
        // All users of the machine can read a command line. The token is therefore in a file.
        let header = try bed.scratch.write(Data("Authorization: Bearer \(token)\n".utf8), to: "authorization")
        let output = try await runToEnd(
            "curl",
            [
                "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code} %{time_total}",
                "--header", "@\(header)", "--form", "patient_id=\(BenchDatabase.id(.patient, patient))",
                "--form", "file=@\(file)", "http://127.0.0.1:\(server.port)/api/sessions/upload",
            ])
        let words = output.split(separator: " ")
        guard words.count == 2, words[0] == "201", let seconds = Double(words[1]) else {
            throw BenchmarkError("unexpected answer to the upload: \(output)")
        }
        return seconds
    }

    /// The time in seconds to copy a file and flush the copy.
    private func secondsToCopy(_ source: String, to destination: String) throws -> Double {
        let start = ContinuousClock.now
        try Data().write(to: URL(filePath: destination))
        let input = try FileHandle(forReadingFrom: URL(filePath: source))
        let output = try FileHandle(forWritingTo: URL(filePath: destination))
        defer { for file in [input, output] { try? file.close() } }
        while let bytes = try input.read(upToCount: 1 << 20), !bytes.isEmpty { try output.write(contentsOf: bytes) }
        try output.synchronize()
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
