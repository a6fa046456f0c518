import Foundation
import Postgres
import Store
import TestSupport
import Testing

@testable import HTTPAPI

@Suite("Refusals of the schema")
struct SchemaRefusalTests {
    /// A code as SQL uses it.
    private struct Use: CustomStringConvertible {
        let file: String
        let code: String
        /// The field at fault.
        var field: String?
        /// The names of the values.
        var values: Set<String> = []

        var description: String { "\(file): \(code)" }
    }

    /// The code files, without the ledger's, whose errors only the person who applies the files sees.
    private static func files() throws -> [(name: String, text: String)] {
        let folder = packageRoot.appending(path: "migrations/code")
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { $0.hasSuffix(".sql") && $0 != "000_ledger.sql" }
            .map { ($0, try String(contentsOf: folder.appending(path: $0), encoding: .utf8)) }
    }

    /// Every refusal that a function or trigger raises.
    private static func raised() throws -> [Use] {
        try files().flatMap { file in
            try file.text.matches(of: /RAISE EXCEPTION[^;]*;/).map { statement in
                let text = statement.output
                let code = try #require(
                    text.firstMatch(of: /CONSTRAINT = '(\w+)'/), "\(file.name): no code in: \(text)")
                #expect(text.contains("USING ERRCODE = '"), "\(file.name): no SQLSTATE in: \(text)")
                let object = text.firstMatch(of: /DETAIL = json_build_object\((.*)\)/)?.output.1 ?? ""
                return Use(
                    file: file.name, code: String(code.output.1),
                    field: text.firstMatch(of: /COLUMN = '(\w+)'/).map { String($0.output.1) },
                    values: Set(object.matches(of: /'(\w+)',/).map { String($0.output.1) }))
            }
        }
    }

    /// Every code that a batch of reports returns in a row instead of raising it.
    private static func returned() throws -> [Use] {
        let file = try #require(try files().first { $0.name == "150_report_batch.sql" })
        let code = try #require(file.text.firstRange(of: "COMMENT ON FUNCTION app.report_progress_batch"))
        let results = file.text[..<code.lowerBound].matches(of: /(?:THEN|ELSE|ARRAY\['\w{5}',)\s+'([a-z]\w*)'/)
        // These verdicts on a caller are not answers.
        return results.map { Use(file: file.name, code: String($0.output.1)) }
            .filter { !["permitted", "busy"].contains($0.code) }
    }

    @Test("Each refusal that SQL raises has words, with the same field and values")
    func words() throws {
        let raised = try Self.raised()
        #expect(raised.count > 20)
        for use in raised {
            let refusal = try #require(SchemaRefusal(rawValue: use.code), "\(use): no words")
            #expect(refusal.field == use.field, "\(use)")
            #expect(Set(refusal.template.matches(of: /\{(\w+)\}/).map { String($0.output.1) }) == use.values, "\(use)")
        }
    }

    @Test("Each refusal that a batch of reports returns has words")
    func batch() throws {
        let returned = try Self.returned()
        #expect(Set(returned.map(\.code)).isSuperset(of: ["signed_out", "unknown_status", "transition_not_allowed"]))
        for use in returned { #expect(SchemaRefusal(rawValue: use.code) != nil, "\(use): no words") }
    }

    @Test("SQL uses each code that has words")
    func noneIsUnused() throws {
        let used = Set(try (Self.raised() + Self.returned()).map(\.code))
        #expect(used == Set(SchemaRefusal.allCases.map(\.rawValue)))
    }

    @Test("The words are whole sentences, or continue after the name of a field", arguments: SchemaRefusal.allCases)
    func sentences(_ refusal: SchemaRefusal) throws {
        let first = try #require(refusal.template.first)
        #expect(refusal.template.hasSuffix("."))
        #expect(first.isUppercase == (refusal.field == nil))
    }

    @Test("A client reads the words of the code, with the values of the error")
    func clientReads() {
        let transition = problem(
            .checkViolation, "transition_not_allowed", values: #"{"from" : "pending", "to" : "processed"}"#)
        #expect(transition.kind == .conflict)
        #expect(transition.detail == "A session that is pending cannot become processed.")
        let value = problem(.invalidParameterValue, "progress_out_of_range")
        #expect(value.kind == .invalid)
        #expect(value.detail == "progress: has to be between 0 and 100.")
    }

    @Test("A code that this release does not know gets the words of its SQLSTATE")
    func unknownCode() {
        let conflict = problem(.checkViolation, "some_new_rule", values: #"{"secret" : "value"}"#)
        #expect(conflict.kind == .conflict)
        #expect(conflict.detail == "The present state does not allow this.")
        let invalid = problem(.invalidParameterValue, "some_new_rule")
        #expect(invalid.kind == .invalid)
        #expect(invalid.detail == "The database does not accept a value of this request.")
        #expect(problem(.noDataFound, "some_new_rule").detail == Problem.noSession.detail)
    }

    @Test("Words without their values are replaced by the words of the SQLSTATE", arguments: [nil, "", "{}", "[1]"])
    func missingValues(_ values: String?) {
        #expect(
            problem(.checkViolation, "transition_not_allowed", values: values).detail
                == "The present state does not allow this.")
    }

    private func problem(_ state: SQLState, _ code: String, values: String? = nil) -> Problem {
        ErrorMiddleware.problem(for: ReportRefusal.database(state, code: code, values: values))
    }
}
