import Foundation
import NIOCore

/// JSON as it was written: members in their order, numbers as their digits.
///
/// Foundation's decoders forget the order of members, and a description reads badly without it.
indirect enum JSONTree: Sendable, Equatable {
    case object([Member])
    case array([JSONTree])
    case string(String)
    /// A number, `true`, `false` or `null`, as it is written.
    case literal(String)

    struct Member: Sendable, Equatable {
        var name: String
        var value: JSONTree
    }

    /// Reads JSON.
    ///
    /// - Throws: What Foundation finds wrong with it: only what it takes is read here.
    init(_ json: Data) throws {
        _ = try JSONSerialization.jsonObject(with: json, options: .fragmentsAllowed)
        var reader = JSONTreeReader(bytes: Array(json)[...])
        self = try reader.value()
    }

    /// The member of an object; nil when it has none of that name, or this is no object.
    subscript(_ name: String) -> JSONTree? { members.first { $0.name == name }?.value }

    var members: [Member] {
        if case .object(let members) = self { members } else { [] }
    }

    var elements: [JSONTree] {
        if case .array(let elements) = self { elements } else { [] }
    }

    /// A string's text, or a literal's.
    var text: String? {
        switch self {
        case .string(let text), .literal(let text): text
        case .object, .array: nil
        }
    }

    /// The JSON, indented by two spaces; short lists and objects stay on their line.
    func pretty(indent: String = "") -> String {
        let flat = flat
        guard flat.count + indent.count > 76 else { return flat }
        let inner = indent + "  "
        switch self {
        case .object(let members):
            let lines = members.map { "\(inner)\(Self.quoted($0.name)): \($0.value.pretty(indent: inner))" }
            return "{\n\(lines.joined(separator: ",\n"))\n\(indent)}"
        case .array(let elements):
            return "[\n\(elements.map { inner + $0.pretty(indent: inner) }.joined(separator: ",\n"))\n\(indent)]"
        case .string, .literal: return flat
        }
    }

    private var flat: String {
        switch self {
        case .object(let members):
            "{" + members.map { "\(Self.quoted($0.name)): \($0.value.flat)" }.joined(separator: ", ") + "}"
        case .array(let elements): "[" + elements.map(\.flat).joined(separator: ", ") + "]"
        case .string(let text): Self.quoted(text)
        case .literal(let text): text
        }
    }

    private static func quoted(_ text: String) -> String { String(buffer: JSON.encode(text)) }
}

/// Reads what is known to be JSON: between two values there is nothing then but space, commas and colons.
private struct JSONTreeReader {
    var bytes: ArraySlice<UInt8>

    mutating func value() throws -> JSONTree {
        skipToNext()
        switch bytes.first {
        case UInt8(ascii: "{"):
            var members: [JSONTree.Member] = []
            bytes.removeFirst()
            while !isAtEnd(UInt8(ascii: "}")) { members.append(.init(name: try string(), value: try value())) }
            return .object(members)
        case UInt8(ascii: "["):
            var elements: [JSONTree] = []
            bytes.removeFirst()
            while !isAtEnd(UInt8(ascii: "]")) { elements.append(try value()) }
            return .array(elements)
        case UInt8(ascii: "\""):
            return .string(try string())
        default:
            let literal = bytes.prefix { !" \t\r\n,]}".utf8.contains($0) }
            bytes = bytes.dropFirst(literal.count)
            return .literal(String(decoding: literal, as: UTF8.self))
        }
    }

    private mutating func skipToNext() { bytes = bytes.drop { " \t\r\n,:".utf8.contains($0) } }

    /// Goes on to the next member or element; when there is none, past the bracket.
    private mutating func isAtEnd(_ bracket: UInt8) -> Bool {
        skipToNext()
        guard bytes.first == bracket else { return false }
        bytes.removeFirst()
        return true
    }

    private mutating func string() throws -> String {
        var end = bytes.startIndex + 1
        while bytes[end] != UInt8(ascii: "\"") { end += bytes[end] == UInt8(ascii: "\\") ? 2 : 1 }
        defer { bytes = bytes[(end + 1)...] }
        return try JSONDecoder().decode(String.self, from: Data(bytes[...end]))
    }
}
