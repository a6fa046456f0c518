import Domain
import FoundationEssentials
import HTTPAPI
import Postgres
import Recordings
import SettingsReading
import Store

extension Operations {
    /// What the database knows about the files in the folder of recordings.
    private struct KnownFiles: Sendable {
        /// The sessions by the names of their recordings.
        var sessions: [String: SessionID] = [:]
        /// The names of files that are being written, or that a server is about to remove.
        var others: Set<String> = []
    }

    /// Compares the recordings on disk with those of the database.
    ///
    /// A file younger than `UPLOAD_RESUME_TTL` may belong to an upload that is under way.
    ///
    /// - Returns: A line for each session whose recording is missing, with its id, and for each file without a session, with its
    ///   name.
    /// - Throws: ``SettingError`` if the folder cannot be read; the error of the database.
    public func checkStorage() async throws -> [String] {
        let name = "UPLOAD_DIR"
        let folder = reader.variable(name) ?? ".data/uploads"
        let youngest = Date(timeIntervalSinceNow: -seconds(try UploadSettings(reader).resumeLifetime))
        // The files first: a recording that arrives in between then has a row, and its file is not expected to be known.
        guard let files = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
            throw SettingError(
                name, "cannot be read; name the folder of the recordings, and run this as the server's account")
        }
        let known = try await withPool(Self.knownFiles)
        let present = Set(files)
        let missing = known.sessions.filter { !present.contains($0.key) }
            .filter { !FileManager.default.fileExists(atPath: "\(folder)/\($0.key)") }
            .map { "\($0.value)\tits recording is missing" }
        let stray = files.filter { file in
            if file == RecordingStore.receiptsFolder { return false }
            let key = file.hasSuffix(".partial") ? String(file.dropLast(8)) : file
            guard known.sessions[key] == nil, !known.others.contains(key) else { return false }
            let attributes = try? FileManager.default.attributesOfItem(atPath: "\(folder)/\(file)")
            return (attributes?[.modificationDate] as? Date).map { $0 < youngest } ?? false
        }.map { "\($0)\tbelongs to no session" }
        return missing.sorted() + stray.sorted()
    }

    private static func knownFiles(_ pool: PostgresPool) async throws -> KnownFiles {
        var known = KnownFiles()
        for row in try await pool.query("SELECT id, recording, upload_key FROM app.therapy_sessions") {
            if let key = try row.decode("recording", as: String?.self) {
                known.sessions[key] = try row.decode("id", as: SessionID.self)
            }
            if let key = try row.decode("upload_key", as: String?.self) { known.others.insert(key) }
        }
        let names: PostgresQuery = """
            SELECT recording FROM app.discarded_recordings WHERE removed_at IS NULL
            UNION ALL SELECT id::text || '.parts' FROM app.resumable_uploads WHERE state = 'open'
            """
        for row in try await pool.query(names) { known.others.insert(try row.decode(0, as: String.self)) }
        return known
    }

    private func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }
}
