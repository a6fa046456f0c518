import Foundation
import JSONScanning

/// JSON in its original order, with the original digits of numbers.
///
/// Foundation's decoders forget the order of members, which a reader of the page needs.
indirect enum JSONTree: Sendable, Equatable {
    case object([Member])
    case array([JSONTree])
    case string(String)
    /// A number, `true`, `false` or `null`, as in the source.
    case literal(String)

    struct Member: Sendable, Equatable {
        var name: String
        var value: JSONTree
    }

    /// Parses JSON.
    ///
    /// - Throws: ``JSONSlices/Fault`` or a `DecodingError` when the data is not JSON.
    init(_ json: Data) throws {
        let bytes = Array(json.drop { " \t\r\n".utf8.contains($0) })
        switch bytes.first {
        case UInt8(ascii: "{"):
            self = .object(
                try JSONSlices.members(of: bytes).map { member in
                    Member(name: member.name, value: try JSONTree(Data(bytes[member.value])))
                })
        case UInt8(ascii: "["):
            self = .array(try JSONSlices.elements(of: bytes).map { try JSONTree(Data(bytes[$0])) })
        case UInt8(ascii: "\""):
            self = .string(try JSONDecoder().decode(String.self, from: Data(bytes)))
        default:
            _ = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            self = .literal(String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
        }
    }

    /// The member of an object; nil if it is missing, or this is not an object.
    subscript(_ name: String) -> JSONTree? { members.first { $0.name == name }?.value }

    var members: [Member] {
        if case .object(let members) = self { members } else { [] }
    }

    var elements: [JSONTree] {
        if case .array(let elements) = self { elements } else { [] }
    }

    /// The text of a string or a literal.
    var text: String? {
        switch self {
        case .string(let text), .literal(let text): text
        case .object, .array: nil
        }
    }

    /// The JSON, indented by two spaces.
    ///
    /// A short list or object stays on one line.
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

    private static func quoted(_ text: String) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        guard let json = try? encoder.encode(text) else { preconditionFailure("text cannot be encoded as JSON") }
        return String(decoding: json, as: UTF8.self)
    }
}
