import Foundation
import Testing

@testable import RenderDocs

@Suite("JSON in its original order")
struct JSONTreeTests {
    @Test("The order of members and the digits of numbers are kept")
    func order() throws {
        let tree = try JSONTree(Data(#" { "z" : 1.50 , "a":[true, null,{}, [ ] ,"x"],"m":{"y":-2e3,"b":"q"} }"#.utf8))
        #expect(tree.members.map(\.name) == ["z", "a", "m"])
        #expect(tree["z"] == .literal("1.50"))
        #expect(
            tree["a"]
                == .array([.literal("true"), .literal("null"), .object([]), .array([]), .string("x")]))
        #expect(tree["m"]?.members.map(\.name) == ["y", "b"])
        #expect(tree["m"]?["y"]?.text == "-2e3")
        #expect(tree["nothing"] == nil)
    }

    @Test("Any text is read")
    func strings() throws {
        let tree = try JSONTree(Data(#"["\"}\\", "a,b:c]", "\u00e4\n", "", "😀"]"#.utf8))
        #expect(tree.elements.compactMap(\.text) == ["\"}\\", "a,b:c]", "ä\n", "", "😀"])
    }

    @Test("Written JSON parses to the same value", arguments: ["{}", "[1, 2]", #"{"b": {"a": "x\"y"}, "a": [null]}"#])
    func pretty(json: String) throws {
        let tree = try JSONTree(Data(json.utf8))
        #expect(tree.pretty() == json)
        let long = JSONTree.array(Array(repeating: tree, count: 40))
        #expect(try JSONTree(Data(long.pretty().utf8)) == long)
        #expect(long.pretty().contains("\n  "))
    }

    @Test("Malformed JSON is refused", arguments: ["", "{", "[1", "{'a': 1}", "\"x"])
    func malformed(json: String) {
        #expect(throws: (any Error).self) { try JSONTree(Data(json.utf8)) }
    }
}
