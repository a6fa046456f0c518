import AsyncAlgorithms
import Subprocess

/// One stretch of speech in a file, waiting for a recogniser.
struct RecognitionJob: Sendable {
    /// Its place among the stretches.
    var number: Int
    /// Its first frame in the recording.
    var startFrame: Int
    /// The name of its file in the working directory, without `.raw`.
    var name: String
}

/// A process of pocketsphinx that recognises one stretch after another.
///
/// `pocketsphinx_batch` reads the names of files from standard input and answers each with one line, at once. Its model is loaded
/// once, and the loudness of each stretch is normalised over the whole of it (`-cmn batch`), which the continuous decoder cannot.
///
/// Tuned on 124 s of LibriVox speech, clean, noisy, reverberant, quiet, fast and through a telephone: one forward pass has 29.7 %
/// of the words wrong at 6 times real time on one core; with the second pass and the lattice (`-fwdflat`, `-bestpath`) 31.4 % at
/// 4 times; `-maxhmmpf 3000` 30.6 % at 10 times. `-remove_silence no` keeps the frames' times true.
struct Recogniser: Sendable {
    var programs: SpeechPrograms
    /// The working directory with the files.
    var directory: String

    /// Recognises jobs until there are no more.
    ///
    /// - Parameters:
    ///   - jobs: may be shared with other recognisers.
    ///   - done: gets each job and its segment, nil when it held no word.
    /// - Throws: ``TranscriberError/failed(detail:)`` when pocketsphinx ends early; what `done` throws.
    func recognise(
        _ jobs: AsyncChannel<RecognitionJob>,
        done: (RecognitionJob, Transcript.Segment?) async throws -> Void
    ) async throws {
        // The model is loaded only when there is something to recognise. A channel may be iterated more than once: each of its
        // values goes to one iterator.
        guard let first = await jobs.first(where: { _ in true }) else { return }
        let outcome = try await run(
            .program(programs.recogniser),
            arguments: Arguments(arguments),
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
                // When pocketsphinx is gone the pipe is broken: its status and its last words say more than that.
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
                detail: "\(programs.recogniser): \(outcome.terminationStatus); \(outcome.closureResult.tail.text)"
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

/// A line of pocketsphinx's `-hypseg`: `name S n T n A n L n`, for each word `frame score score word`, and the frame of the end.
struct HypothesisLine {
    /// A word and the frames from its first to the one after its last.
    struct Word: Equatable {
        var text: String
        var frames: Range<Int>
    }

    var words: [Word] = []

    /// Reads a line; nil when it has another form.
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

    /// The word without the number of its pronunciation, or nil for silence and noise: `<sil>`, `[NOISE]`, `++BREATH++`.
    private static func spoken(_ field: Substring) -> String? {
        guard let first = field.first, !"<[+".contains(first) else { return nil }
        let word = String(field.prefix { $0 != "(" })
        // The dictionary is all lower case.
        return word == "i" || word.hasPrefix("i'") ? "I" + word.dropFirst() : word
    }

    /// The words as a segment of the recording; nil when there is none.
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
