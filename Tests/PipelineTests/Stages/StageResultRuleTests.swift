import Testing

@testable import Pipeline

@Suite struct StageResultRuleTests {
    private func checked(_ json: String, seconds: Double? = nil) throws(StageResultRule.Fault) -> String {
        try StageResultRule.transcript(recordingSeconds: seconds).checked(json)
    }

    private func segments(_ list: String) -> String { #"{"text":"a","segments":[\#(list)]}"# }

    @Test(
        "A transcript without a member, or with a wrong one, is refused by its name",
        arguments: [
            ("7", "the result is no object"),
            (#"{"segments":[]}"#, "text is missing"),
            (#"{"text":7,"segments":[]}"#, "text is no string"),
            (#"{"text":"a"}"#, "segments is missing"),
            (#"{"text":"a","segments":{}}"#, "segments is no array"),
            (#"{"text":"a","segments":[],"duration_seconds":"6"}"#, "duration_seconds is no number of seconds"),
            (#"{"text":"a","segments":[],"announced_seconds":-1}"#, "announced_seconds is no number of seconds"),
            (#"{"text":"a","segments":[7]}"#, "segments[0] is no object"),
        ])
    func refusesTranscripts(json: String, fault: String) {
        #expect(throws: StageResultRule.Fault(description: fault)) { try checked(json) }
    }

    @Test(
        "A segment without a member, or with a wrong one, is refused by its number and name",
        arguments: [
            (#"{"end":1,"text":"a"}"#, "start is missing"),
            (#"{"start":0,"text":"a"}"#, "end is missing"),
            (#"{"start":0,"end":null,"text":"a"}"#, "end is missing"),
            (#"{"start":0,"end":1}"#, "text is missing"),
            (#"{"start":"0","end":1,"text":"a"}"#, "start is no number"),
            (#"{"start":0,"end":true,"text":"a"}"#, "end is no number"),
            (#"{"start":-1,"end":1,"text":"a"}"#, "start is no time"),
            (#"{"start":0,"end":1e999,"text":"a"}"#, "end is no time"),
            (#"{"start":2,"end":1,"text":"a"}"#, "end is before its start"),
            (#"{"start":0,"end":1,"text":null}"#, "text is no string"),
            (#"{"start":0,"end":1,"text":"a","speaker":7}"#, "speaker is no string"),
        ])
    func refusesSegments(segment: String, fault: String) {
        let good = #"{"start":0,"end":9,"text":"a"}"#
        #expect(throws: StageResultRule.Fault(description: "segments[2].\(fault)")) {
            try checked(segments("\(good),\(good),\(segment)"))
        }
    }

    @Test("Segments begin in their order, and may overlap")
    func ordersSegments() throws {
        let first = #"{"start":1,"end":5,"text":"a"}"#
        let overlapping = #"{"start":1,"end":3,"text":"b","speaker":null}"#
        let json = segments("\(first),\(overlapping)")
        #expect(try checked(json) == json)
        #expect(
            throws: StageResultRule.Fault(description: "segments[1].start is before the one of segments[0]")
        ) { try checked(segments(#"{"start":2,"end":5,"text":"a"},\#(overlapping)"#)) }
    }

    @Test("A time up to 30 s past the recording is cut, and the rest of the text keeps every byte")
    func cutsTimes() throws {
        let json = #"{ "segments": [{"end":  90.5 ,"start":61e0,"text":"a","x":[1.50]}] , "text":"é\n", "y":{} }"#
        #expect(
            try checked(json, seconds: 60.5)
                == #"{ "segments": [{"end":  60.5 ,"start":60.5,"text":"a","x":[1.50]}] , "text":"é\n", "y":{} }"#)
        #expect(try checked(json) == json)
        #expect(throws: StageResultRule.Fault(description: "segments[0].end is more than 30 s past the recording")) {
            try checked(json, seconds: 60.4)
        }
    }

    @Test("The length that the transcript has wins over the one that was measured")
    func believesTheTranscript() throws {
        let json = #"{"text":"","segments":[{"start":0,"end":7,"text":"a"}],"duration_seconds":6}"#
        #expect(try checked(json, seconds: 900).contains(#""end":6.0"#))
    }

    @Test("Notes are any object, and other stages print any JSON")
    func checksOtherResults() throws {
        #expect(throws: StageResultRule.Fault(description: "the result is no object")) {
            try StageResultRule.object.checked("[1]")
        }
        #expect(try StageResultRule.object.checked("{}") == "{}")
        #expect(try StageResultRule.anything.checked("7") == "7")
    }
}
