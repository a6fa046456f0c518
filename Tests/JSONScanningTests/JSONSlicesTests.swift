import JSONScanning
import Testing

@Suite("JSON that is not decoded")
struct JSONSlicesTests {
    private func text(_ range: Range<Int>, of json: String) -> String {
        String(decoding: Array(json.utf8)[range], as: UTF8.self)
    }

    @Test("The values of an object are found in their order, unchanged")
    func members() throws {
        let json = #" {"z" : 1.50 ,"a\n":[true, {"b": null}],"m":"}\"" }  "#
        let members = try JSONSlices.members(of: Array(json.utf8))
        #expect(members.map(\.key) == ["z", #"a\n"#, "m"])
        #expect(members.map { text($0.value, of: json) } == ["1.50", #"[true, {"b": null}]"#, #""}\"""#])
    }

    @Test("The elements of an array are found")
    func elements() throws {
        let json = #"[ 1 ,"a,b" , [2, 3],{"c": []} ]"#
        let elements = try JSONSlices.elements(of: Array(json.utf8))
        #expect(elements.map { text($0, of: json) } == ["1", #""a,b""#, "[2, 3]", #"{"c": []}"#])
        #expect(try JSONSlices.elements(of: Array("[]".utf8)) == [])
    }

    @Test("A value of another kind gets an error that says so")
    func otherKinds() {
        #expect(throws: JSONSlices.Fault.notAnObject) { try JSONSlices.members(of: Array("[1]".utf8)) }
        #expect(throws: JSONSlices.Fault.notAnArray) { try JSONSlices.elements(of: Array("{}".utf8)) }
        #expect(throws: JSONSlices.Fault.unexpected(at: 3)) { try JSONSlices.elements(of: Array("[1]x".utf8)) }
        #expect(throws: JSONSlices.Fault.unexpected(at: 3)) { try JSONSlices.elements(of: Array("[1,]".utf8)) }
        #expect(throws: JSONSlices.Fault.truncated) { try JSONSlices.elements(of: Array("[1".utf8)) }
    }
}

@Suite("Names and numbers of values in JSON") struct JSONValueTests {
    @Test(
        "A key is read without its escapes",
        arguments: [("{\"a\":1}", "a"), (#"{"\u0061\n\ud83d\ude00\"":1}"#, "a\n😀\"")])
    func names(text: String, name: String) throws {
        #expect(try JSONSlices.members(of: Array(text.utf8)).map(\.name) == [name])
    }

    @Test(
        "The number of values is never underestimated, and text counts as one value",
        arguments: [("1", 1), ("[1, 2]", 3), (#"{"a": [1], "b": "x,[{\","}"#, 4)])
    func count(text: String, values: Int) {
        #expect(JSONSlices.countValues(of: text.utf8) == values)
    }
}
