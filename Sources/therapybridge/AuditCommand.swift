import App
public import ArgumentParser
public import Domain
import FoundationEssentials

extension AuditAction: ExpressibleByArgument {}

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the records of the audit log, the newest first. Connects to DATABASE_MIGRATE_URL.",
        discussion: """
            Without --json each line has, separated by tabs: time, outcome, action, user, session, patient, account that \
            was changed, request, database role, detail, address, number of repeats and time of the last one; a dash for a \
            missing value.
            """)

    @Option(help: "Only records of the account with this address.")
    var user: String?
    @Option(help: "Only records about the patient with this address.")
    var patient: String?
    @Option(help: "Only records about the session with this id.")
    var session: String?
    @Option(help: "Only records of this action.")
    var action: AuditAction?
    @Flag(help: "Only refused actions.")
    var refused = false
    @Option(help: "Only records from this time on, as in 2026-11-22T09:30:00Z or 2026-11-22.")
    var from: String?
    @Option(help: "Only records before this time.")
    var to: String?
    @Option(help: "The largest number of records.")
    var limit = 100
    @Flag(help: "Print one JSON object a line, in the form of GET /api/audit.")
    var json = false

    func validate() throws { _ = try query() }

    func run() async throws {
        let records = try await Operations(logger: startLogging()).audit(query())
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        for record in records {
            print(json ? String(decoding: try encoder.encode(record), as: UTF8.self) : Self.line(record))
        }
    }

    private func query() throws -> Operations.AuditQuery {
        guard (1...1_000_000).contains(limit) else { throw ValidationError("--limit has to be from 1 to 1000000.") }
        var query = Operations.AuditQuery(limit: limit)
        query.user = user
        query.patient = patient
        query.session = try session.map { text in
            guard let id = SessionID(text) else { throw ValidationError("--session has to be a UUID.") }
            return id
        }
        query.action = action
        query.isAllowed = refused ? false : nil
        query.from = try time(from, "--from")
        query.to = try time(to, "--to")
        return query
    }

    private func time(_ text: String?, _ option: String) throws -> Timestamp? {
        guard let text else { return nil }
        guard let time = Timestamp(rfc3339: text) else {
            throw ValidationError("\(option) has to be a time as in 2026-11-22T09:30:00Z.")
        }
        return time
    }

    private static func line(_ record: AuditEntry) -> String {
        [
            record.at.description, record.isAllowed ? "allowed" : "refused", record.action, record.user?.description,
            record.session?.description, record.patient?.description, record.subject?.description, record.requestID,
            record.databaseRole, record.detail, record.address, record.repeats?.description, record.until?.description,
        ].map { $0 ?? "-" }.joined(separator: "\t")
    }
}
