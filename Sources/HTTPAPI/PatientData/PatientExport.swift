import Credentials
import Domain
import HummingbirdCore
import NIOCore
import Polling
import Recordings
import Store

/// Writes all that is held of a patient as a tar archive.
///
/// Each part is read when its turn comes, as the user who asked. The database therefore leaves out what the user may not read:
/// a patient's own export has no notes. Memory holds one document, or one piece of a recording.
struct PatientExport: Sendable {
    let patient: UserRecord
    let caller: User
    let principal: Principal
    let users: UserStore
    let sessions: SessionStore
    let progress: ProgressStore
    let log: AuditStore
    let recordings: RecordingStore
    let clock: any MonotonicClock

    /// How many sessions are read at once.
    private static let sessionPage = 50
    /// How many records of the access log one file has.
    private static let logPage = 1000

    /// Writes the archive to the end.
    ///
    /// - Throws: ``LostRight`` if the caller has lost the right; `RecordingError`; the error of the database or of the
    ///   connection. The archive then has no end.
    func write(to writer: inout any ResponseBodyWriter) async throws {
        var confirmation = RightConfirmation(by: clock)
        let account = ExportedPatient(
            record: patient,
            assignments: try await sessions.assignments(ofPatient: patient.user.id, as: principal))
        try await add("patient.json", JSON.encode(account), to: &writer, &confirmation)
        let signIns = try await users.acting(as: principal).signIns(of: patient.user.id)
        try await add("sign-ins.json", JSON.encode(Items(items: signIns)), to: &writer, &confirmation)
        var filter = SessionStore.Filter(limit: Self.sessionPage)
        filter.patient = patient.user.id
        while true {
            let page = try await sessions.list(as: principal, filter).sessions
            for session in page { try await add(session, to: &writer, &confirmation) }
            guard page.count == Self.sessionPage, let last = page.last else { break }
            filter.after = ListCursor(at: filter.order.time(of: last), id: last.id)
        }
        if Access.permits(.readAuditLog, to: caller.role) { try await addAccessLog(to: &writer, &confirmation) }
        // Without the right, the database shows no rows. Only this question tells the end of the right from the end of the data.
        try await confirm()
        try await writer.write(TarFormat.end)
        try await writer.finish(nil)
    }

    /// Adds a session: `sessions/ID/…`.
    private func add(
        _ session: TherapySession, to writer: inout any ResponseBodyWriter, _ confirmation: inout RightConfirmation
    ) async throws {
        let folder = "sessions/\(session.id)"
        try await add("\(folder)/session.json", JSON.encode(session), to: &writer, &confirmation)
        let events = try await progress.transitions(of: session.id, as: principal, limit: .max)
        try await add("\(folder)/events.json", JSON.encode(Items(items: events)), to: &writer, &confirmation)
        if let transcript = try await sessions.transcript(of: session.id, as: principal) {
            let json = ByteBuffer(bytes: try TranscriptDocument(transcript).json(from: 0))
            try await add("\(folder)/transcript.json", json, to: &writer, &confirmation)
        }
        if let notes = try await sessions.notes(of: session.id, as: principal) {
            try await add("\(folder)/notes.json", ByteBuffer(string: notes), to: &writer, &confirmation)
        }
        let earlier = HistoryReader.parts(of: try await sessions.history(of: session.id, as: principal))
        for (index, part) in earlier.enumerated() {
            let items = try await HistoryReader(sessions: sessions).read(part, of: session.id, for: principal)
            let json = ByteBuffer(bytes: Array(#"{"items":["#.utf8) + items + Array("]}".utf8))
            try await add("\(folder)/history-\(index + 1).json", json, to: &writer, &confirmation)
        }
        let failures = try await sessions.failures(of: session.id, as: principal)
        if !failures.isEmpty {
            let items = Items(items: failures.map(ProcessingRoutes.FailureBody.init))
            try await add("\(folder)/failures.json", JSON.encode(items), to: &writer, &confirmation)
        }
        try await addRecording(of: session.id, in: folder, to: &writer, &confirmation)
    }

    private func addRecording(
        of session: SessionID, in folder: String, to writer: inout any ResponseBodyWriter,
        _ confirmation: inout RightConfirmation
    ) async throws {
        guard let reference = try await sessions.recording(of: session, as: principal),
            let file = try await recordings.open(key: reference.key)
        else { return }
        let name = "\(folder)/recording.\(reference.format?.extensions[0] ?? "bin")"
        try await writer.write(TarFormat.header(of: name, bytes: file.byteCount, at: reference.createdAt))
        try await file.read(0..<file.byteCount) { bytes in
            try await confirmation.ifDue(confirm)
            try await writer.write(bytes)
        }
        try await writer.write(TarFormat.padding(after: file.byteCount))
    }

    /// Adds who accessed what, the newest first: `access-log-N.json`.
    private func addAccessLog(
        to writer: inout any ResponseBodyWriter, _ confirmation: inout RightConfirmation
    ) async throws {
        var filter = AuditStore.Filter(limit: Self.logPage)
        filter.patient = patient.user.id
        for number in 1... {
            let records = try await log.list(filter, as: principal)
            guard let last = records.last else { return }
            try await add("access-log-\(number).json", JSON.encode(Items(items: records)), to: &writer, &confirmation)
            filter.after = AuditStore.Cursor(at: last.at, id: last.id)
        }
    }

    /// Adds a file.
    private func add(
        _ name: String, _ content: ByteBuffer, to writer: inout any ResponseBodyWriter,
        _ confirmation: inout RightConfirmation
    ) async throws {
        try await confirmation.ifDue(confirm)
        let bytes = Int64(content.readableBytes)
        try await writer.write(TarFormat.header(of: name, bytes: bytes, at: .now()))
        try await writer.write(content)
        try await writer.write(TarFormat.padding(after: bytes))
    }

    /// Asks whether the caller may still export.
    ///
    /// - Throws: ``LostRight`` if the caller may not; the error of the database, which also ends the export.
    private func confirm() async throws {
        let account = try await users.account(of: principal.user, signIn: principal.signIn)
        let relation = Relation(isPatient: caller.id == patient.user.id, isAssigned: false)
        guard let account, account.isActive, Access.permits(.export, to: account.user.role, as: relation) else {
            throw LostRight(description: "the caller may no longer export the data of this patient")
        }
    }
}
