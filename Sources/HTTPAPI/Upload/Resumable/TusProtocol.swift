import Crypto
import Domain
import DurationUnits
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// The headers and rules of the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload).
enum Tus {
    static let version = "1.0.0"
    static let extensions = "creation,creation-with-upload,expiration,checksum,termination"
    /// The media type of the bytes of an upload.
    static let mediaType = "application/offset+octet-stream"

    /// Checks the version of a request.
    ///
    /// "The Tus-Resumable header MUST be included in every request and response except for OPTIONS requests. […] If the version
    /// specified by the Client is not supported by the Server, it MUST respond with the 412 Precondition Failed status and MUST
    /// include the Tus-Version header into the response. In addition, the Server MUST NOT process the request."
    ///
    /// - Throws: 412.
    static func checkVersion(of request: Request) throws(Problem) {
        guard request.headers[.tusResumable] != version else { return }
        var problem = Problem(
            .preconditionFailed, "Send Tus-Resumable: \(version), the version of the protocol that this server speaks.")
        problem.headers[.tusVersion] = version
        throw problem.closing(request)
    }

    /// Reads a header with a number of bytes.
    ///
    /// - Throws: 400 if it is missing or not a number.
    static func byteCount(_ name: HTTPField.Name, of request: Request) throws(Problem) -> Int64 {
        guard let text = request.headers[name], !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let count = Int64(text)
        else { throw Problem(.malformed, "\(name) has to be a number of bytes.").closing(request) }
        return count
    }

    /// Checks the media type of a body with bytes of an upload.
    ///
    /// - Throws: 415.
    static func checkMediaType(of request: Request) throws(Problem) {
        guard let type = request.headers[.contentType], HeaderParameters(type).value == mediaType else {
            throw Problem(.unsupportedMedia, "Send the bytes of an upload as \(mediaType).").closing(request)
        }
    }
}

/// The `Upload-Metadata` of a creation.
///
/// "One or more comma-separated key-value pairs. The key and value MUST be separated by a
/// space. […] The key SHOULD be ASCII encoded and the value MUST be Base64 encoded. All keys MUST be unique. The value MAY be empty."
/// (tus 1.0.0, Upload-Metadata)
struct UploadMetadata {
    private let values: [String: [UInt8]]

    /// Reads the header.
    ///
    /// - Throws: 400 if it does not have this form.
    init(_ text: String) throws(Problem) {
        var values: [String: [UInt8]] = [:]
        for pair in text.split(separator: ",", omittingEmptySubsequences: false) where !text.isEmpty {
            let words = pair.split(separator: " ")
            guard (1...2).contains(words.count) else {
                throw Problem(.malformed, "Upload-Metadata: each pair has a key, a space and a value in Base64.")
            }
            let key = String(words[0])
            guard values[key] == nil else { throw Problem(.malformed, "Upload-Metadata: a key is there twice.") }
            guard let bytes = words.count == 1 ? Data() : Data(base64Encoded: String(words[1])) else {
                throw Problem(.malformed, "Upload-Metadata: a value is not Base64.")
            }
            values[key] = Array(bytes)
        }
        self.values = values
    }

    /// The text of a key; nil if it is missing or empty.
    ///
    /// - Throws: 422 if the value is not UTF-8.
    subscript(key: String) -> String? {
        get throws(Problem) {
            guard let bytes = values[key], !bytes.isEmpty else { return nil }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw Problem.invalid(key, "is not UTF-8.")
            }
            return text
        }
    }
}

extension UploadForm {
    /// Reads the form of a resumable upload.
    ///
    /// - Throws: 422 for a missing or bad value.
    init(_ metadata: UploadMetadata) throws(Problem) {
        func value<Value>(_ key: String, _ reason: String, _ read: (String) -> Value?) throws(Problem) -> Value? {
            guard let text = try metadata[key] else { return nil }
            guard let value = read(text) else { throw Problem.invalid(key, reason) }
            return value
        }
        guard let patient = try value("patient_id", "is not a UUID.", { UserID($0) }) else {
            throw Problem.invalid("patient_id", "is missing in Upload-Metadata.", .missing)
        }
        guard let filename = try metadata["filename"].map(RecordingName.shown), !filename.isEmpty else {
            throw Problem.invalid("filename", "is missing in Upload-Metadata.", .missing)
        }
        let declared = try metadata["filetype"]
        self.init(
            patient: patient,
            sessionDate: try value("session_date", SessionValue.dateRule) { Timestamp(sessionDate: $0) },
            language: try value("language", SessionValue.languageRule) { LanguageTag($0) },
            session: try value("session_id", "is not a UUID.") { SessionID($0) },
            filename: filename,
            refusal: FileKind.refusal(ofName: filename) ?? declared.flatMap(DeclaredType.refusal))
    }
}

/// The `Upload-Checksum` of a request, and the hash of what has arrived of its body.
struct UploadChecksum {
    /// The algorithms, as `Tus-Checksum-Algorithm` lists them.
    ///
    /// "The Server MUST support at least the SHA1 checksum algorithm identified by sha1."
    static let algorithms = "sha1,sha256"

    private enum Hash {
        case sha1(Insecure.SHA1)
        case sha256(SHA256)
    }

    private let expected: [UInt8]
    private var hash: Hash

    /// Reads the header; nil without one.
    ///
    /// - Throws: 400 for an unknown algorithm, or a checksum that is not one of it in Base64.
    init?(of request: Request) throws(Problem) {
        guard let text = request.headers[.uploadChecksum] else { return nil }
        let words = text.split(separator: " ")
        let size: Int
        switch words.first {
        case "sha1": (hash, size) = (.sha1(Insecure.SHA1()), Insecure.SHA1.byteCount)
        case "sha256": (hash, size) = (.sha256(SHA256()), SHA256.byteCount)
        default:
            throw Problem(.malformed, "Upload-Checksum: the algorithms are \(Self.algorithms).").closing(request)
        }
        guard words.count == 2, let bytes = Data(base64Encoded: String(words[1])), bytes.count == size else {
            throw Problem(.malformed, "Upload-Checksum: the checksum is not \(size) bytes in Base64.").closing(request)
        }
        expected = Array(bytes)
    }

    mutating func take(_ bytes: ByteBuffer) {
        switch hash {
        case .sha1(var sha1):
            bytes.withUnsafeReadableBytes { sha1.update(bufferPointer: $0) }
            hash = .sha1(sha1)
        case .sha256(var sha256):
            bytes.withUnsafeReadableBytes { sha256.update(bufferPointer: $0) }
            hash = .sha256(sha256)
        }
    }

    /// True if the bytes so far have the checksum.
    var isMet: Bool {
        switch hash {
        case .sha1(let sha1): expected == Array(sha1.finalize())
        case .sha256(let sha256): expected == Array(sha256.finalize())
        }
    }
}

extension Problem {
    /// The same problem; the connection closes if the request has a body, which the server does not read.
    func closing(_ request: Request) -> Problem { request.hasBody ? closing() : self }

    /// The upload has ended, or expired, or its session is gone.
    static let uploadGone = Problem(
        .gone,
        "This upload has ended: it was cancelled or refused, it expired, or its session is gone. Begin another one.")
    /// There is no such upload, or it is another user's.
    static let noUpload = Problem(.notFound, "There is no such upload.")

    /// Another request writes an upload.
    ///
    /// - Parameter wait: The time until that request may be taken over from.
    /// - Returns: The problem, with that time in `Retry-After`.
    static func uploadLocked(_ wait: Duration) -> Problem {
        Problem(
            .locked, "Another request is writing this upload. One that is silent for 5 seconds can be taken over from."
        ).retry(after: wait)
    }

    /// The upload continues at another offset.
    static func wrongOffset(_ offset: Int64) -> Problem {
        Problem(.conflict, "Upload-Offset: the upload continues at byte \(offset). Ask for it by HEAD.")
    }
}

/// Adds `Tus-Resumable` to every answer of the routes of uploads, also to refusals.
struct TusVersion: RouterMiddleware {
    static let path = "/api/uploads"

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        if request.uri.path == Self.path || request.uri.path.hasPrefix(Self.path + "/") {
            response.headers[.tusResumable] = Tus.version
        }
        return response
    }
}
