import JSONScanning
import Testing

@testable import Pipeline

@Suite struct StageOutputTests {
    private func feed(_ text: String, pieces: Int = .max) throws -> (StageOutput, [StageProgress]) {
        var output = StageOutput()
        var seen: [StageProgress] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            if let progress = try output.consume(rest.prefix(pieces)) { seen.append(progress) }
            rest = rest.dropFirst(pieces)
        }
        if let progress = try output.finish() { seen.append(progress) }
        return (output, seen)
    }

    @Test("Lines are read in pieces of any size", arguments: [1, 2, 7, .max])
    func readsLinesHoweverTheyArrive(pieces: Int) throws {
        let text = """
            {"progress": 10, "message": "Grüße", "estimated_time_remaining": 30.9}\r

            {"future": [1, {"x": null}]}
             {"progress": 99.9}
            {"result": {"text": "a \\ud83d\\ude00 \\u00e9", "n": [-1.5e+3, true, false, null]}}
            """
        let (output, seen) = try feed(text, pieces: pieces)
        #expect(output.result?.json == #"{"text": "a \ud83d\ude00 \u00e9", "n": [-1.5e+3, true, false, null]}"#)
        #expect(seen.last == StageProgress(progress: 99))
        if pieces < 10 {
            #expect(seen.first == StageProgress(progress: 10, message: "Grüße", estimatedTimeRemaining: 30))
        }
    }

    @Test("Progress is clamped, and a long message is cut")
    func clampsAndCuts() throws {
        let (_, low) = try feed(#"{"progress": -3, "estimated_time_remaining": -1}"#)
        #expect(low == [StageProgress(progress: 0, estimatedTimeRemaining: 0)])
        let (_, high) = try feed(#"{"progress": 1e300, "message": "\#(String(repeating: "x", count: 3_000))"}"#)
        #expect(high.first?.progress == 100)
        #expect(high.first?.message?.count == 2_000)
    }

    @Test(
        "A line that is not a JSON object for PostgreSQL is refused",
        arguments: [
            "Loading model…", "42", "[1]", "\"x\"", "{", "{\"a\":}", "{\"a\":1,}", "{\"a\":01}", "{\"a\":1}x",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":\"\u{1}\"}", #"{"result":"\u0000"}"#, #"{"result":"\ud83d"}"#, #"{"result":"\ude00"}"#,
            #"{"result":"\ud83dx"}"#,
            #"{"result":"\x"}"#, "{\"result\":1.}", "{\"result\":tru}",
        ])
    func refusesWhatIsNoObject(line: String) {
        #expect(throws: StageOutput.Fault.self) { try feed("{\"progress\":1}\n" + line + "\n") }
    }

    @Test("Broken UTF-8 and deep nesting are refused")
    func refusesBrokenUTF8AndDepth() {
        var output = StageOutput()
        #expect(throws: StageOutput.Fault.notJSON(line: 1, .notUTF8)) {
            try output.consume(Array("{\"result\":\"".utf8) + [0xFF] + Array("\"}\n".utf8))
        }
        let deep = "{\"result\":" + String(repeating: "[", count: 300) + String(repeating: "]", count: 300) + "}"
        #expect(throws: StageOutput.Fault.self) { try feed(deep) }
    }

    @Test("A line after the result is refused, unless it is blank")
    func refusesWhatFollowsTheResult() {
        #expect(throws: StageOutput.Fault.afterResult(line: 2)) { try feed("{\"result\":1}\n{\"progress\":100}") }
        #expect(throws: Never.self) { try feed("{\"result\":1}\n\n  \r\n") }
    }

    @Test("A line has a limit, which is higher for the result")
    func boundsLines() throws {
        let padding = String(repeating: "x", count: 70_000)
        #expect(throws: StageOutput.Fault.lineTooLong(line: 1, limit: 65_536)) {
            try feed("{\"progress\":1,\"message\":\"\(padding)\"}\n")
        }
        #expect(try feed("{\"result\":\"\(padding)\"}\n").0.result?.json.utf8.count == 70_002)
        var small = StageOutput(resultLimit: 10)
        #expect(throws: StageOutput.Fault.lineTooLong(line: 1, limit: 10)) {
            try small.consume(Array("{\"result\":1}".utf8)[...])
        }
    }

    @Test("The tail of standard error is kept, and its last line is fit to show")
    func keepsTheTailOfStandardError() {
        var tail = OutputTail(limit: 16)
        for _ in 0..<1_000 { tail.append(Array("noise noise\n".utf8)) }
        tail.append(Array("last \u{1B}[31mword\n\n".utf8))
        #expect(tail.lastLine == "last [31mword")
        #expect(tail.text.utf8.count <= 16)
        #expect(OutputTail().lastLine == nil)
    }
}
