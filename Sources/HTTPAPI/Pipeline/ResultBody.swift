import Domain
import FoundationEssentials
import Hummingbird
import JSONScanning
import Store

/// A result with its lease: `{lease, attempt, …}`.
///
/// The other members are the document, which keeps its text: the order of its members and the form of its numbers.
struct ResultBody {
    /// The maximum size in bytes, the same as that of a stage's result.
    static let maximumBytes = 64 << 20
    /// The maximum number of values.
    ///
    /// PostgreSQL needs about 50 bytes for each while it reads the document, and cannot store many millions.
    static let maximumValues = 1_000_000

    /// The JSON object without `lease` and `attempt`.
    let document: String
    private let lease: String
    private let attempt: WholeNumber

    /// Reads the body of a request.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - onPart: Receives the number of bytes after each part, and may throw to end the request.
    /// - Returns: The body.
    /// - Throws: A ``Problem``: 413 beyond the limits, 415 for another type than JSON, and those of ``init(_:)``; the
    ///   error of `onPart`.
    static func read(from request: Request, onPart: (Int) throws -> Void) async throws -> ResultBody {
        try ResultBody(try await bytes(of: request, onPart))
    }

    /// The bytes of a body.
    ///
    /// The buffer of the request is freed when this method returns.
    private static func bytes(of request: Request, _ onPart: (Int) throws -> Void) async throws -> [UInt8] {
        let body = try await JSON.body(
            of: request, limit: maximumBytes, maximumValues: maximumValues, onPart: onPart)
        return Array(body.readableBytesView)
    }

    /// Reads a body.
    ///
    /// - Throws: A ``Problem``: 400 for a body that is not JSON, 422 for one that is no object, or has no `lease` or no
    ///   `attempt`.
    init(_ text: [UInt8]) throws {
        let members = try Self.members(of: text)
        var own: [String: Data] = [:]
        var rest: [UInt8] = []
        rest.reserveCapacity(text.count)
        rest.append(UInt8(ascii: "{"))
        for member in members {
            let name = member.name
            if name == "lease" || name == "attempt" {
                own[name] = Data(text[member.value])
                continue
            }
            if rest.count > 1 { rest.append(UInt8(ascii: ",")) }
            rest += Array("\"\(member.key)\":".utf8)
            rest += text[member.value]
        }
        rest.append(UInt8(ascii: "}"))
        document = String(decoding: rest, as: UTF8.self)
        lease = try Self.decode("lease", own)
        attempt = try Self.decode("attempt", own)
    }

    /// The members of a document that the database can store.
    ///
    /// - Throws: A ``Problem``: 400 for a body that is not JSON, 422 for one that is no object or has a text that the
    ///   database cannot hold.
    static func members(of text: [UInt8]) throws(Problem) -> [JSONSlices.Member] {
        do throws(JSONSlices.Fault) {
            return try JSONSlices.members(of: text)
        } catch {
            switch error {
            case .notAnObject, .notAnArray: throw Problem(.invalid, "The body has to be a JSON object.")
            case .badEscape:
                throw Problem(.invalid, "The body holds \\u0000 or half of a surrogate pair, which no text can hold.")
            case .unexpected, .truncated, .tooDeep, .notUTF8: throw Problem(.malformed, "The body is not JSON.")
            }
        }
    }

    /// - Throws: 422 for a value that no lease can have.
    func presented(of session: SessionID) throws(Problem) -> PresentedLease {
        try PresentedLease(of: session, text: lease, number: attempt.value)
    }

    private static func decode<Value: Decodable>(_ name: String, _ members: [String: Data]) throws -> Value {
        guard let value = members[name] else { throw Problem.invalid(name, "is missing.", .missing) }
        guard let decoded = try? JSONDecoder().decode(Value.self, from: value) else {
            throw Problem.invalid(name, "has the wrong type.", .wrongType)
        }
        return decoded
    }
}
