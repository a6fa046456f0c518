import App
import SettingsReading
import Synchronization
import TestSupport

/// The settings that the groups of the program declare.
enum SettingsPart {
    static func declarations() throws -> [SettingDeclaration] {
        let declared = Mutex<[SettingDeclaration]>([])
        let reader = SettingsReader(
            environment: [
                "DATABASE_URL": "dbname=x", "DATABASE_MIGRATE_URL": "dbname=x",
                "JWT_SECRET": String(repeating: "x", count: 32),
            ],
            onDeclaration: { declaration in declared.withLock { $0.append(declaration) } })
        _ = try Settings(reader)
        _ = try OperatorDatabaseSettings(reader)
        _ = try LogSettings(reader)
        return declared.withLock { $0 }
    }

    static func text() throws -> String {
        let declarations = try declarations()
        let names = declarations.map(\.name)
        var titles: [String] = []
        for declaration in declarations where !titles.contains(declaration.group) { titles.append(declaration.group) }
        return titles.map { title in
            let rows = declarations.filter { $0.group == title }.map { setting in
                ["`\(setting.name)`", setting.fallback, marking(names, in: setting.form), setting.meaning]
            }
            return "### \(title)\n\n" + table(["name", "default", "values", "meaning"], rows)
        }.joined(separator: "\n\n")
    }

    /// Marks the names of settings in a text that is also a part of error messages.
    private static func marking(_ names: [String], in text: String) -> String {
        text.replacing(/[A-Z]+(_[A-Z]+)+/) { names.contains(String($0.0)) ? "`\($0.0)`" : String($0.0) }
    }
}
