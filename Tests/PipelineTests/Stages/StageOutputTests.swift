import Foundation
import Testing

@testable import Pipeline

/// Reads bytes as the standard output of a stage.
private func read(_ bytes: [UInt8], pieces: Int = .max) -> (output: StageOutput, updates: [StageUpdate]) {
    var output = StageOutput()
    var updates: [StageUpdate] = []
    func take() {
        let update = output.takeNews()
        if !update.isEmpty { updates.append(update) }
    }
    var rest = bytes[...]
    while !rest.isEmpty {
        output.consume(rest.prefix(pieces))
        take()
        rest = rest.dropFirst(pieces)
    }
    output.finish()
    take()
    return (output, updates)
}

private func read(_ text: String, pieces: Int = .max) -> (output: StageOutput, progress: [StageProgress]) {
    let (output, updates) = read(Array(text.utf8), pieces: pieces)
    return (output, updates.compactMap(\.progress))
}

/// The lines that belong to a stage.
@Suite struct StageOutputTests {
    @Test("Lines are read in pieces of any size", arguments: [1, 2, 7, .max])
    func readsLinesHoweverTheyArrive(pieces: Int) {
        let text = """
            {"progress": 10, "message": "Grüße", "estimated_time_remaining": 30.9}\r

            {"future": [1, {"x": null}]}
             {"progress": 99.9}
            {"result": {"text": "a \\ud83d\\ude00 \\u00e9", "n": [-1.5e+3, true, false, null]}}
            """
        let (output, seen) = read(text, pieces: pieces)
        #expect(output.result?.json == #"{"text": "a \ud83d\ude00 \u00e9", "n": [-1.5e+3, true, false, null]}"#)
        #expect(seen.last == StageProgress(progress: 99))
        #expect(output.foreignLines.first == ForeignLines.Line(number: 3, kind: .unknown))
        if pieces < 10 {
            #expect(seen.first == StageProgress(progress: 10, message: "Grüße", estimatedTimeRemaining: 30))
        }
    }

    @Test("Progress is clamped, and a long message is cut")
    func clampsAndCuts() {
        let (_, low) = read(#"{"progress": -3, "estimated_time_remaining": -1}"#)
        #expect(low == [StageProgress(progress: 0, estimatedTimeRemaining: 0)])
        let (_, high) = read(#"{"progress": 1e300, "message": "\#(String(repeating: "x", count: 3_000))"}"#)
        #expect(high.first?.progress == 100)
        #expect(high.first?.message?.count == 2_000)
    }

    @Test("Secrets are hidden in messages, segments and reasons, before they are cut or made one line")
    func hidesSecrets() throws {
        let secrets = SecretValues(["KEY": "sk-canary-123", "CERTIFICATE": "first\nsecond"])
        func read(_ line: String) -> (output: StageOutput, update: StageUpdate) {
            var output = StageOutput(hiding: secrets)
            output.consume(Array(line.utf8)[...])
            output.finish()
            let update = output.takeNews()
            return (output, update)
        }
        for padding in 480..<500 {
            let words = String(repeating: "x", count: padding) + "sk-canary-123"
            let reason = try #require(read(#"{"error": "\#(words)"}"#).output.reason)
            #expect(!reason.contains("sk-"), "\(padding)")
        }
        for padding in 1_980..<2_000 {
            let words = String(repeating: "x", count: padding) + "sk-canary-123"
            let message = try #require(read(#"{"progress": 1, "message": "\#(words)"}"#).update.progress?.message)
            #expect(!message.contains("sk-"), "\(padding)")
        }
        #expect(read(#"{"error": "bad: first\nsecond"}"#).output.reason == "bad: $CERTIFICATE")
        #expect(
            read(#"{"progress": 1, "message": "bad: first\nsecond"}"#).update.progress?.message == "bad: $CERTIFICATE")
        let line = #"{"segment": {"start": 0, "end": 1, "text": "is sk-canary-123", "speaker": "sk-canary-123"}}"#
        #expect(
            read(line).update.segments == [TranscriptSegment(start: 0, end: 1, text: "is $KEY", speaker: "$KEY")])
    }

    @Test("Secrets are hidden in all strings of a result, however they are written, and all else keeps its bytes")
    func hidesSecretsInResults() {
        let secrets = SecretValues([
            "KEY": "sk-canary/123", "LINES": "first\nsecond", "TOKEN": "abcdefghijklmnop", "MODEL": "medium",
            "LEVEL": "1",
        ])
        for (result, shown) in [
            (#"{"text": "is sk-canary/123."}"#, #"{"text": "is $KEY."}"#),
            (#"{"text": "is sk-canary\/123."}"#, #"{"text": "is $KEY."}"#),
            (#"["\u0073k-can\u0061ry/123", "abcdefghijklmnop"]"#, #"["$KEY", "$TOKEN"]"#),
            (#"{"a": {"sk-canary/123": ["\"first\nsecond\"", null]}}"#, #"{"a": {"$KEY": ["\"$LINES\"", null]}}"#),
            // A word of the recording that is a setting, too.
            (#"{"text": "One 1 medium \u00fc \\ \/", "x": 1.50, "y":[ ] }"#, nil),
            (#""sk-canary""#, nil), ("123456", nil), ("{}", nil),
        ] as [(String, String?)] {
            var output = StageOutput(hiding: secrets)
            output.consume(Array(#"{"result": \#(result)}"#.utf8)[...])
            output.finish()
            #expect(output.result?.json == shown ?? result)
        }
        var output = StageOutput(hiding: secrets)
        let words = "medium sk-canary/123"
        output.consume(
            Array(
                #"{"progress": 1, "message": "\#(words)", "segment": {"start": 0, "end": 1, "text": "\#(words)"}}"#.utf8
            )[...])
        output.finish()
        let update = output.takeNews()
        #expect(update.segments.map(\.text) == ["medium $KEY"])
        #expect(update.progress?.message == "$MODEL $KEY")
    }

    @Test("Segments arrive in their order, and one that is no segment is passed over")
    func readsSegments() {
        let (output, updates) = read(
            Array(
                """
                {"segment": {"start": 0, "end": 1.5, "text": "good"}}
                {"progress": 50, "segment": {"start": 1.5, "end": 2, "text": "morning", "speaker": "1", "more": []}}
                {"segment": {"start": 3, "end": 2, "text": "backwards"}}
                {"segment": {"start": -1, "end": 2, "text": "early"}}
                {"segment": {"start": 1, "text": "endless"}}
                {"segment": "words"}

                """.utf8))
        #expect(
            updates == [
                StageUpdate(
                    progress: StageProgress(progress: 50),
                    segments: [
                        TranscriptSegment(start: 0, end: 1.5, text: "good"),
                        TranscriptSegment(start: 1.5, end: 2, text: "morning", speaker: "1"),
                    ])
            ])
        #expect(output.foreignLines.count == 4)
    }

    @Test("The words of the last error are kept, on one line and at most 500 characters long")
    func keepsTheLastReason() {
        let (output, _) = read(
            """
            {"error": "first"}
            {"error": " The\\nmicrophone\\u0000was \\u202e off.\(String(repeating: "x", count: 600))"}
            {"error": {"code": 401}}

            """)
        #expect(output.reason?.hasPrefix("The microphone was   off.xxx") == true)
        #expect(output.reason?.count == 500)
        #expect(output.foreignLines.count == 1)
        #expect(read(#"{"error": " \n"}"#).output.reason == nil)
    }

    @Test("The last result counts, also when other lines follow it")
    func takesTheLastResult() {
        let (output, seen) = read("{\"result\":1}\n{\"result\":2}\n\n  \r\n{\"progress\":100}\nbye\n{\"result\":NaN}")
        #expect(output.result?.json == "2")
        #expect(seen == [StageProgress(progress: 100)])
        #expect(output.foreignLines.count == 2)
    }

    @Test("A line that was meant as a result and is none is named")
    func namesARefusedResult() {
        let nan = #"{"result":{"text":"","segments":[{"start":NaN,"end":1,"text":"a"}]}}"#
        #expect(read("x\n" + nan).output.refusedResult == ForeignLines.Line(number: 2, kind: .notFinite))
        #expect(read(#"{"result":"\u0000"}"#).output.refusedResult?.kind == .badEscape)
        #expect(read(#"{"result":"\ud83d"}"#).output.refusedResult?.kind == .badEscape)
        #expect(read(#"{"result":"#).output.refusedResult?.kind == .notJSON)
        let latin = Array("{\"result\":\"".utf8) + [0xFF] + Array("\"}\n".utf8)
        #expect(read(latin).output.refusedResult?.kind == .notUTF8)
        let deep = "{\"result\":" + String(repeating: "[", count: 300) + String(repeating: "]", count: 300) + "}"
        #expect(read(deep).output.refusedResult?.kind == .notJSON)
    }

    @Test("A line has a limit, which is higher for the result")
    func boundsLines() {
        let padding = String(repeating: "x", count: 70_000)
        let progress = read("{\"progress\":1,\"message\":\"\(padding)\"}\n{\"progress\":2}\n")
        #expect(progress.progress == [StageProgress(progress: 2)])
        #expect(progress.output.foreignLines.first == ForeignLines.Line(number: 1, kind: .tooLong))
        #expect(read("{\"result\":\"\(padding)\"}\n").output.result?.json.utf8.count == 70_002)
        var small = StageOutput(resultLimit: 10)
        small.consume(Array("{\"result\":1}\n{\"r\":1}".utf8)[...])
        #expect(small.refusedResult == ForeignLines.Line(number: 1, kind: .tooLong))
    }

    @Test(
        "A gigabyte without an end of line takes bounded memory",
        arguments: [(UInt8(0), StageLine.limit), (UInt8(ascii: "{"), StageOutput.resultLimit)])
    func boundsMemory(first: UInt8, limit: Int) {
        var output = StageOutput()
        let mebibyte = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
        output.consume([first])
        var most = 0
        for _ in 0..<1_024 {
            output.consume(mebibyte[...])
            most = max(most, output.keptByteCount)
        }
        #expect(most <= limit)
        output.consume(Array("\n{\"result\":1}\n".utf8)[...])
        #expect(output.foreignLines.count == 1)
        #expect(output.foreignLines.first?.kind == .tooLong)
        #expect(output.result?.json == "1")
    }

    @Test("The log gets the number of the foreign lines and the kind of the first, but none of their words")
    func describesForeignLines() {
        let lines = read("I told my wife\n{\"progress\":1}\n[NaN]\n").output.foreignLines
        #expect(
            lines.description
                == "2: line 1 is no JSON, line 3 is NaN or Infinity, which is no JSON (Python: json.dumps(…, allow_nan=False))"
        )
        #expect(ForeignLines().description == "none")
    }
}

/// One kind of line that a program prints on standard output and that is not for the worker.
struct ForeignOutput: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    /// How many lines count as foreign.
    let count: Int
    /// The progress that the output tells all the same.
    let progress: Int?

    var testDescription: String { name }

    init(_ name: String, _ text: String, count: Int = 1, progress: Int? = nil) {
        self.init(name, Array(text.utf8), count: count, progress: progress)
    }

    init(_ name: String, _ bytes: [UInt8], count: Int = 1, progress: Int? = nil) {
        self.name = name
        self.bytes = bytes
        self.count = count
        self.progress = progress
    }

    static let all = [
        ForeignOutput("a banner", "Detected language: English\n"),
        ForeignOutput("a line of words with times", "[00:00.000 --> 00:02.000] hello\n"),
        ForeignOutput(
            "a warning of Python", "/usr/lib/x.py:3: UserWarning: FP16 is not supported\n  warnings.warn()\n", count: 2),
        ForeignOutput("a box of lines", "╭──────╮\n│ done │\n╰──────╯\n", count: 3),
        ForeignOutput("blank lines", "\n \t\n\r\n", count: 0),
        ForeignOutput(
            "a bar of tqdm", "\r  0%|          | 0/2\r 50%|█████     | 1/2\r100%|██████████| 2/2\n", count: 3),
        ForeignOutput(
            "progress after a bar of tqdm", "\r 50%|█████     | 1/2{\"progress\": 50}\n", count: 0, progress: 50),
        ForeignOutput(
            "progress after a bar that was wiped", " 50%|██\r\u{1B}[2K{\"progress\": 50}\u{1B}[?25h\n", progress: 50),
        ForeignOutput("a byte order mark before progress", "\u{FEFF}{\"progress\":50}\n", count: 0, progress: 50),
        ForeignOutput("a byte order mark alone", "\u{FEFF}\n"),
        ForeignOutput("colours", "\u{1B}[32mINFO\u{1B}[0m loading\n"),
        ForeignOutput("colours around progress", "\u{1B}[1;32m{\"progress\":50}\u{1B}[0m\n", count: 0, progress: 50),
        ForeignOutput("a log line that quotes JSON", "INFO sending {\"error\": \"x\"}\n"),
        ForeignOutput("a log line as JSON", "{\"level\":\"info\",\"msg\":\"loading\"}\n"),
        ForeignOutput("an object without members", "{}\n"),
        ForeignOutput("a message without progress", "{\"message\":\"hello\"}\n"),
        ForeignOutput("JSON over several lines", "{\n  \"progress\": 50\n}\n", count: 3),
        ForeignOutput("an array", "[1, 2]\n"),
        ForeignOutput("a string", "\"done\"\n"),
        ForeignOutput("a number", "42\n"),
        ForeignOutput("null", "null\n"),
        ForeignOutput("true", "true\n"),
        ForeignOutput("NaN", "NaN\n"),
        ForeignOutput("NaN as progress", "{\"progress\": NaN}\n"),
        ForeignOutput("Infinity as progress", "{\"progress\": -Infinity}\n"),
        ForeignOutput("a dictionary of Python", "{'progress': 50}\n"),
        ForeignOutput("an object that was cut", "{\"progress\": 5\n"),
        ForeignOutput("two objects on a line", "{\"progress\": 5}{\"progress\": 6}\n"),
        ForeignOutput("a very long line", String(repeating: "x", count: 3_000_000) + "\n"),
        ForeignOutput("a very long object", "{\"x\":\"" + String(repeating: "x", count: 3_000_000) + "\"}\n"),
        ForeignOutput("bytes that are not UTF-8", [0xFF, 0xFE, 0xC3, 0x28, 0x0A]),
        ForeignOutput(
            "a message in Latin-1", Array("{\"progress\":50,\"message\":\"Gr".utf8) + [0xFC, 0x22, 0x7D, 0x0A]),
        ForeignOutput("UTF-16", Array("{\"progress\":50}\n".utf8).flatMap { [$0, 0] }),
        ForeignOutput("NUL bytes", [0, 0, 0, 0x0A]),
        ForeignOutput("NUL bytes in an object", Array("{\"progress\":5\0}\n".utf8)),
        ForeignOutput(
            "an escaped NUL in a message", #"{"progress":50,"message":"a\u0000b"}"# + "\n", count: 0, progress: 50),
        ForeignOutput(
            "half of a surrogate pair in a message", #"{"progress":50,"message":"\ud83d"}"# + "\n", count: 0,
            progress: 50),
        ForeignOutput("a control character in a message", "{\"progress\":50,\"message\":\"a\u{1B}b\"}\n"),
        ForeignOutput("progress with a fraction", "{\"progress\":45.5}\n", count: 0, progress: 45),
        ForeignOutput("progress in quotes", "{\"progress\":\"45\"}\n", count: 0, progress: 45),
        ForeignOutput("progress as words", "{\"progress\":\"half\"}\n"),
        ForeignOutput("progress as null", "{\"progress\":null}\n"),
        ForeignOutput("progress below the range", "{\"progress\":-1}\n", count: 0, progress: 0),
        ForeignOutput("progress above the range", "{\"progress\":250}\n", count: 0, progress: 100),
        ForeignOutput("progress beyond every number", "{\"progress\":1e999}\n"),
        ForeignOutput("a message that is no string", "{\"progress\":5,\"message\":[1]}\n", count: 0, progress: 5),
        ForeignOutput("CRLF", "{\"progress\":50}\r\nbanner\r\n", progress: 50),
    ]
}

/// The ordinary things that tools print: none of them ends a session.
@Suite struct ForeignOutputTests {
    private static let result = #"{"result": {"text": "a", "segments": []}}"#

    @Test("A foreign line before the result is passed over and counted", arguments: ForeignOutput.all)
    func passesOverBefore(foreign: ForeignOutput) {
        let (output, updates) = read(foreign.bytes + Array((Self.result + "\n").utf8))
        #expect(output.result?.json == #"{"text": "a", "segments": []}"#)
        #expect(output.foreignLines.count == foreign.count)
        #expect(output.refusedResult == nil)
        #expect(updates.last?.progress?.progress == foreign.progress)
    }

    @Test(
        "A foreign line after the result, or without an end, is passed over and counted", arguments: ForeignOutput.all)
    func passesOverAfter(foreign: ForeignOutput) {
        for pieces in [3, .max] where foreign.bytes.count < 10_000 || pieces == .max {
            let (output, updates) = read(Array((Self.result + "\r\n").utf8) + foreign.bytes.dropLast(), pieces: pieces)
            #expect(output.result?.json == #"{"text": "a", "segments": []}"#)
            #expect(output.foreignLines.count == foreign.count)
            #expect(updates.last?.progress?.progress == foreign.progress)
        }
    }

    @Test("A result needs no end of line, and may have a byte order mark, a colour or a bar before it")
    func findsTheResult() {
        for prefix in ["", "\u{FEFF}", "\u{1B}[0m", "\r100%|██████████| 2/2 [00:01<00:00]", "\r\n"] {
            let long = #"{"result": "\#(String(repeating: "x", count: 100_000))"}"#
            for text in [Self.result, long] {
                #expect(read(prefix + text).output.result != nil, "\(prefix)")
            }
        }
    }

    @Test("NaN is named wherever it stands among the foreign lines")
    func namesNaN() {
        let lines = read("banner\n{\"progress\": NaN}\n" + Self.result).output.foreignLines
        #expect(lines.first == ForeignLines.Line(number: 1, kind: .notJSON))
        #expect(lines.firstNotFinite == ForeignLines.Line(number: 2, kind: .notFinite))
    }

    @Test("A NUL in a message becomes a blank, and other escapes stay")
    func mendsMessages() {
        let (_, seen) = read(#"{"progress":50,"message":"a\u0000b\\u0000\n\ud83d\ude00\ud83d"}"#)
        #expect(seen.first?.message == "a b\\u0000 😀\u{FFFD}")
    }
}
