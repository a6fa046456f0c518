import AsyncAlgorithms
import Subprocess

/// A stretch of speech in a file, for a recogniser.
struct RecognitionJob: Sendable {
    /// The index of the stretch.
    var number: Int
    /// The first frame in the recording.
    var startFrame: Int
    /// The name of the file in the working directory, without `.raw`.
    var name: String
}

/// A process of pocketsphinx that recognises one stretch after another.
///
/// `pocketsphinx_batch` reads file names from standard input and answers each with one line, at once. It loads its
/// model once. It normalises the loudness over each whole stretch (`-cmn batch`), which the continuous decoder cannot
/// do.
///
/// The options were tuned on 124 s of LibriVox speech: clean, noisy, reverberant, quiet, fast and by telephone. One
/// forward pass gets 29.7 % of the words wrong at 6 times real time on one core. The second pass and the lattice
/// (`-fwdflat`, `-bestpath`) get 31.4 % wrong at 4 times, and `-maxhmmpf 3000` 30.6 % at 10 times. `-remove_silence no`
/// keeps the times of the frames right.
struct Recogniser: Sendable {
    var programs: SpeechPrograms
    /// The working directory with the audio files.
    var directory: String

    /// Recognises jobs until the channel ends.
    ///
    /// - Parameters:
    ///   - jobs: The jobs. Several recognisers may share the channel.
    ///   - done: Receives each job and its segment, or nil if the stretch had no word.
    /// - Throws: ``TranscriberError/failed(detail:)`` when pocketsphinx ends early; the error of `done`.
    func recognise(
        _ jobs: AsyncChannel<RecognitionJob>,
        done: (RecognitionJob, Transcript.Segment?) async throws -> Void
    ) async throws {
        // Waits for the first job before it loads the model. Each value of a channel goes to one of its iterators.
        guard let first = await jobs.first(where: { _ in true }) else { return }
        let outcome = try await run(
            .program(programs.recogniser),
            arguments: Arguments(arguments),
            environment: .scrubbed(),
            input: .inputWriter,
            output: .sequence,
            error: .sequence
        ) { execution in
            async let tail = OutputTail(of: execution.standardError)
            var answers = execution.standardOutput.strings(bufferingPolicy: .maxLineLength(1_024 * 1_024))
                .makeAsyncIterator()
            var pending = jobs.makeAsyncIterator()
            var job: RecognitionJob? = first
            while let current = job {
                // If pocketsphinx has ended, the pipe is broken. The exit status and standard error then tell the
                // cause.
                guard await Self.write("\(current.name)\n", to: execution.standardInputWriter) else { break }
                guard let answer = try await answers.next() else { break }
                try await done(current, HypothesisLine(answer)?.segment(startFrame: current.startFrame))
                job = await pending.next()
            }
            try? await execution.standardInputWriter.finish()
            return (isComplete: job == nil, tail: await tail)
        }
        try Task.checkCancellation()
        guard outcome.closureResult.isComplete else {
            throw TranscriberError.failed(
                detail: "\(programs.recogniser): \(outcome.terminationStatus); \(outcome.closureResult.tail.text())"
            )
        }
    }

    private static func write(_ line: String, to writer: StandardInputWriter) async -> Bool {
        do {
            return try await writer.write(line) == line.utf8.count
        } catch {
            return false
        }
    }

    private var arguments: [String] {
        [
            "-adcin", "yes", "-cepdir", directory, "-cepext", ".raw", "-ctl", "/dev/stdin", "-hypseg", "/dev/stdout",
            "-hmm", "\(programs.model)/en-us", "-lm", "\(programs.model)/en-us.lm.bin",
            "-dict", "\(programs.model)/cmudict-en-us.dict",
            "-cmn", "batch", "-remove_silence", "no", "-fwdflat", "no", "-bestpath", "no", "-logfn", "/dev/null",
        ]
    }
}

/// A line of pocketsphinx's `-hypseg`: `name S n T n A n L n`, then `frame score score word` for each word, then the
/// last frame.
struct HypothesisLine {
    /// A word, and the range of its frames.
    struct Word: Equatable {
        var text: String
        var frames: Range<Int>
    }

    var words: [Word] = []

    /// Reads a line; nil if it has another form.
    init?(_ line: String) {
        let fields = line.split(separator: " ")
        guard fields.count >= 10, fields[1] == "S", fields[7] == "L" else { return nil }
        var start = 9
        while start + 4 < fields.count {
            guard let from = Int(fields[start]), let to = Int(fields[start + 4]) else { return nil }
            if let text = Self.spoken(fields[start + 3]) {
                words.append(Word(text: text, frames: from..<max(from, to)))
            }
            start += 4
        }
    }

    /// The word without the number of its pronunciation; nil for silence and noise: `<sil>`, `[NOISE]`, `++BREATH++`.
    private static func spoken(_ field: Substring) -> String? {
        guard let first = field.first, !"<[+".contains(first) else { return nil }
        let word = String(field.prefix { $0 != "(" })
        // The dictionary has only lower case.
        return word == "i" || word.hasPrefix("i'") ? "I" + word.dropFirst() : word
    }

    /// The words as a segment of the recording; nil without a word.
    func segment(startFrame: Int) -> Transcript.Segment? {
        guard let first = words.first, let last = words.last else { return nil }
        func seconds(_ frame: Int) -> Double { Double(startFrame + frame) / Double(SpeechSegmenter.framesPerSecond) }
        return Transcript.Segment(
            start: seconds(first.frames.lowerBound),
            end: seconds(last.frames.upperBound),
            text: words.map(\.text).joined(separator: " ")
        )
    }
}
