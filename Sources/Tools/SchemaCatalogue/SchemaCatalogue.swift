public import Postgres

/// The schema `app` of a database as a page: `docs/schema.md`.
///
/// All of it comes from PostgreSQL's catalogue and the comments there. The page therefore always matches the database.
public struct SchemaCatalogue: Sendable {
    /// The page, in Markdown.
    public let page: String

    /// Reads the catalogue.
    ///
    /// - Parameters:
    ///   - connection: A connection to a database with the present schema. Its role must see all of the schema.
    ///   - fileOfFunction: Returns the file below `migrations/` that has the function with this name.
    /// - Throws: `PostgresError` when the database does not answer.
    public init(of connection: PostgresConnection, fileOfFunction: (String) -> String?) async throws {
        page =
            try await [
                Self.preface,
                Roles(connection).section,
                StateMachine(connection).section,
                Tables(connection).section,
                Functions(connection, fileOfFunction).section,
                Notifications(connection).section,
            ].joined(separator: "\n\n") + "\n"
    }

    private static let preface = """
        # Schema

        <!-- Written by `make schema` from a migrated database. Do not edit. -->

        This page lists the contents of the schema `app`: tables, functions, triggers, policies and privileges. The SQL is in
        `migrations/`: numbered files hold roles, tables, indexes and seed rows; `code/` holds functions, triggers, policies
        and grants. Column types and defaults are PostgreSQL's. The owner of everything is `therapybridge_owner`.
        """
}

extension PostgresRow {
    /// The text of a column; empty if it is null.
    func text(_ column: String) throws -> String { try decode(column, as: String?.self) ?? "" }
}

/// A table in Markdown.
struct MarkdownTable {
    private let header: [String]
    private var rows: [[String]] = []

    init(_ header: String...) { self.header = header }

    mutating func add(_ cells: String...) { rows.append(cells) }

    /// The lines of the table; empty without rows.
    var text: String {
        guard !rows.isEmpty else { return "" }
        let lines = [header, header.map { _ in "---" }] + rows
        return lines.map { "| " + $0.map(Self.escaped).joined(separator: " | ") + " |" }.joined(separator: "\n")
    }

    private static func escaped(_ cell: String) -> String {
        cell.replacing("|", with: "\\|").replacing("\n", with: " ")
    }
}
