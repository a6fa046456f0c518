import Domain
import Foundation
import Hummingbird
import NIOCore

/// The fields in front of the file in an upload.
struct UploadForm: Equatable {
    var patient: UserID
    var sessionDate: Timestamp?
    var session: SessionID?
    /// The name of the recording, without folders, control characters and characters that change the direction of
    /// writing.
    var filename: String
    var format: AudioFormat
    /// The declared media type, or the type of the format if the client did not know it.
    var mediaType: String
}

/// Reads an arriving upload: first the fields, which are small, then the file, piece by piece.
///
/// The file is the last part. The server therefore knows and checks all fields before it stores the first byte.
struct UploadReader: ~Copyable {
    /// The maximum size of a field, in bytes.
    private static let fieldLimit = 1024
    /// The maximum length of a stored file name, in Unicode scalars.
    private static let filenameLimit = 255

    private var parser: MultipartParser
    private var body: RequestBody.AsyncIterator
    private var events: ArraySlice<MultipartParser.Event> = []
    private let limit: Int
    private var byteCount = 0
    /// Counts every byte that arrives, also those that are discarded.
    var allowance: UploadAllowance?

    /// A reader of a request.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - limit: The maximum size of its body in bytes, with the form.
    /// - Throws: 415 if the body is not multipart, 400 without a boundary.
    init(_ request: Request, limit: Int) throws {
        guard let contentType = request.headers[.contentType],
            HeaderParameters(contentType).value == "multipart/form-data"
        else { throw Problem(.unsupportedMedia, "Send multipart/form-data.").closing() }
        parser = try MultipartParser(contentType: contentType)
        body = request.body.makeAsyncIterator()
        self.limit = limit
    }

    /// Reads up to the first byte of the file.
    ///
    /// - Returns: The fields.
    /// - Throws: 415 for a file that is not a recording by its name or declared type, 422 for a missing or bad field.
    mutating func readForm() async throws -> UploadForm {
        var fields: [String: String] = [:]
        while let event = try await next() {
            guard case .began(let part) = event else { continue }
            if part.name == "file" { return try form(fields, file: part) }
            guard ["patient_id", "session_date", "session_id"].contains(part.name) else {
                throw Problem.invalid(Self.shown(part.name), "is not a field of an upload.").closing()
            }
            guard fields[part.name] == nil else { throw Problem.invalid(part.name, "is there twice.").closing() }
            fields[part.name] = try await readField(part.name)
        }
        throw Problem.invalid("file", "is missing.")
    }

    /// The next bytes of the file; nil at its end.
    mutating func readFile() async throws -> ByteBuffer? {
        switch try await next() {
        case .body(let bytes): return bytes
        case .ended, .began, nil: return nil
        }
    }

    /// Reads what follows the file.
    ///
    /// - Throws: 422 if a field follows: it comes too late for the checks.
    mutating func readEnd() async throws {
        while let event = try await next() {
            if case .began(let part) = event {
                throw Problem.invalid(Self.shown(part.name), "has to come before the file.").closing()
            }
        }
    }

    private mutating func next() async throws -> MultipartParser.Event? {
        while true {
            if let event = events.popFirst() { return event }
            guard let bytes = try await body.next() else {
                try parser.finish()
                return nil
            }
            byteCount += bytes.readableBytes
            allowance?.received(bytes.readableBytes)
            guard byteCount <= limit else {
                throw Problem(.tooLarge, "The request may have at most \(limit) bytes.").closing()
            }
            events = try parser.feed(bytes)[...]
        }
    }

    private mutating func readField(_ name: String) async throws -> String {
        var value = ByteBuffer()
        while let event = try await next(), case .body(var bytes) = event {
            guard value.readableBytes + bytes.readableBytes <= Self.fieldLimit else {
                throw Problem.invalid(name, "is too long.").closing()
            }
            value.writeBuffer(&bytes)
        }
        return String(buffer: value)
    }

    private func form(_ fields: [String: String], file: MultipartParser.Part) throws -> UploadForm {
        func value<Value>(_ name: String, _ reason: String, _ read: (String) -> Value?) throws -> Value? {
            guard let text = fields[name], !text.isEmpty else { return nil }
            guard let value = read(text) else { throw Problem.invalid(name, reason).closing() }
            return value
        }
        guard let patient = try value("patient_id", "is not a UUID.", { UserID($0) }) else {
            throw Problem.invalid("patient_id", "is missing.").closing()
        }
        guard let filename = file.filename.map(Self.displayName), !filename.isEmpty else {
            throw Problem.invalid("file", "has no file name.").closing()
        }
        let accepted = AudioFormat.allCases.flatMap(\.extensions).joined(separator: ", ")
        guard let format = AudioFormat(filename: filename) else {
            throw Problem(.unsupportedMedia, "A recording has one of the extensions \(accepted).").closing()
        }
        let declared = HeaderParameters(file.contentType ?? "application/octet-stream").value
        guard format.accepts(mediaType: declared) else {
            throw Problem(.unsupportedMedia, "The declared type is not that of a .\(format.rawValue) recording.")
                .closing()
        }
        return UploadForm(
            patient: patient,
            sessionDate: try value("session_date", "is not an RFC 3339 date or time.") { Timestamp(rfc3339: $0) },
            session: try value("session_id", "is not a UUID.") { SessionID($0) },
            filename: filename, format: format,
            mediaType: declared == "application/octet-stream" ? format.mediaTypes[0] : declared)
    }

    /// The name of a field, in a form that is safe to show.
    private static func shown(_ name: String) -> String {
        String(String.UnicodeScalarView(name.shown.unicodeScalars.prefix(64)))
    }

    /// A client's file name, in a form that is safe to show: the last component, whatever separator the client's system
    /// uses.
    static func displayName(_ name: String) -> String {
        // This works on Unicode scalars, as the checks of what is safe to show do.
        let last =
            name.unicodeScalars.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last ?? Substring().unicodeScalars
        let shown = String(last).shown.unicodeScalars
        // The cut has to keep the extension. A character may consist of any number of scalars, and the database counts
        // scalars.
        return String(String.UnicodeScalarView(shown.suffix(filenameLimit)))
    }
}
