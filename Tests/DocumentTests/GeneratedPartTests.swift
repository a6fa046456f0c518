import Foundation
import PostgresTestSupport
import SettingsReading
import TestSupport
import Testing

/// The parts of the documentation that `make docs` writes from the code.
@Suite(.deadline)
struct GeneratedPartTests {
    @Test("The documentation has the settings that the program reads")
    func settings() throws {
        try GeneratedPart(name: "settings").hold(try SettingsPart.text())
    }

    @Test("The documentation has the metrics that the program describes")
    func metrics() throws {
        try GeneratedPart(name: "metrics").hold(MetricsPart.text())
    }

    @Test("The documentation has the problem types of the server")
    func problems() throws {
        try GeneratedPart(name: "problems").hold(ProblemPart.text())
    }

    @Test("The documentation has the routes that the server describes")
    func routes() throws {
        try GeneratedPart(name: "routes").hold(try RoutePart().text())
    }

    @Test("The documentation has the cases that the clients pass")
    func clientCases() throws {
        try GeneratedPart(name: "client-cases").hold(try ClientCasesPart.text())
    }

    @Test("The documentation has the actions of the audit log")
    func auditActions() throws {
        try GeneratedPart(name: "audit-actions").hold(AuditActionPart.text())
    }

    @Test("The documentation has the statuses and transitions of the database")
    func statuses() async throws {
        try await withDatabase { database in
            let parts = try await StatusParts(of: database)
            try GeneratedPart(name: "statuses").hold(parts.statuses)
            try GeneratedPart(name: "transitions").hold(try parts.transitions())
        }
    }

    @Test("Every setting of the sources is declared, and once")
    func declarations() throws {
        let declarations = try SettingsPart.declarations()
        let names = declarations.map(\.name)
        #expect(Set(names).count == names.count)
        for setting in declarations {
            #expect(setting.name.wholeMatch(of: /[A-Z]+(_[A-Z]+)*/) != nil)
            #expect(setting.meaning.hasSuffix("."), "\(setting.name)")
            #expect(!setting.group.isEmpty, "\(setting.name)")
        }
        // Some group declares each name of a setting in the sources.
        let sources = packageRoot.appending(path: "Sources")
        for file in FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)?.allObjects ?? [] {
            guard let file = file as? URL, file.lastPathComponent.hasSuffix("Settings.swift") else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /"([A-Z]+(_[A-Z]+)+)"/) {
                #expect(names.contains(String(match.1)), "\(match.1) in \(file.lastPathComponent)")
            }
        }
    }

    @Test("Every generated part of the documentation has a test")
    func markers() throws {
        // `make test-clients` holds sse-clients, `make test-proxies` writes proxies, and `make test-faults`
        // writes faults. The tests of commands hold refusals, waits, carried-settings and sql-readers, the tests of uploads
        // hold upload-states.
        let held = [
            "settings", "metrics", "problems", "routes", "audit-actions", "statuses", "transitions", "client-cases",
            "sse-clients", "refusals", "waits", "log-lines", "faults", "carried-settings", "sql-readers",
            "upload-states-form", "upload-states-resumable", "proxies",
        ]
        let docs = packageRoot.appending(path: "docs")
        for page in try FileManager.default.contentsOfDirectory(at: docs, includingPropertiesForKeys: nil)
        where page.pathExtension == "md" {
            let text = try String(contentsOf: page, encoding: .utf8)
            for match in text.matches(of: /<!-- ([a-z-]+):begin -->/) { #expect(held.contains(String(match.1))) }
        }
    }
}
