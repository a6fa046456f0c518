import Domain
import Store

/// Changes of a session: one or both of `{session_date, language}`.
///
/// A member that is missing stays as it is. Null clears it: the value is not known.
struct SessionChangeBody: Decodable {
    let change: SessionStore.Change

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case sessionDate = "session_date"
        case language
    }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard !container.allKeys.isEmpty else {
            throw Problem(.invalid, "Send at least one of session_date and language.")
        }
        func member<Value>(_ key: CodingKeys, _ rule: String, _ read: (String) -> Value?) throws -> Value?? {
            guard container.contains(key) else { return nil }
            guard let text = try container.decodeIfPresent(String.self, forKey: key) else { return .some(nil) }
            guard let value = read(text) else { throw Problem.invalid(key.rawValue, rule) }
            return .some(value)
        }
        change = SessionStore.Change(
            sessionDate: try member(.sessionDate, SessionValue.dateRule) { Timestamp(sessionDate: $0) },
            language: try member(.language, SessionValue.languageRule) { LanguageTag($0) })
    }
}
