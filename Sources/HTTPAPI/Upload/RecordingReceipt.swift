import Domain
import FoundationEssentials
import Store

/// What the database has to learn of a recording whose bytes are all stored.
///
/// The server writes it as a receipt beside the recordings when the database does not answer. It holds ids and a checksum, and nothing
/// that a person wrote.
struct RecordingReceipt: Codable, Sendable {
    let session: SessionID
    let user: UserID
    let signIn: SignInID
    let upload: UUID
    /// The key of the recording.
    let key: String
    let bytes: Int64
    let sha256: [UInt8]
    let mediaType: String
    /// The request that wrote the last byte of a resumable upload; nil for an upload by the form.
    let writer: UUID?

    init(
        _ stored: StoredRecording, from recording: ExpectedRecording, into session: SessionID, as principal: Principal,
        writer: UUID? = nil
    ) {
        self.session = session
        (user, signIn) = (principal.user, principal.signIn)
        (upload, key) = (recording.upload, recording.key)
        (bytes, sha256, mediaType) = (stored.bytes, stored.sha256, stored.format.mediaType)
        self.writer = writer
    }

    /// The name of the receipt.
    var name: String {
        ["\(session)", upload.uuidString, writer?.uuidString].compactMap(\.self).joined(separator: ".").lowercased()
    }

    var principal: Principal { Principal(user: user, signIn: signIn) }

    var recording: ExpectedRecording { ExpectedRecording(upload: upload, key: key) }

    /// The recording; nil for a format that this release does not know.
    var stored: StoredRecording? {
        AudioFormat(mediaType: mediaType).map { StoredRecording(bytes: bytes, sha256: sha256, format: $0) }
    }
}

/// All bytes of a recording are stored, and the database does not answer.
///
/// The recording is not lost: the server enters it when the database is back.
struct RecordingKept: Error {
    let session: SessionID

    /// What the client reads.
    var problem: Problem {
        Problem(
            .unavailable,
            "All bytes have arrived and are kept. The server enters the recording as soon as its database answers. Ask for session "
                + "\(session) before you send anything again.")
    }
}
