import Domain
import FoundationEssentials
import Hummingbird
import NIOCore
import Store

/// The fields in front of the file in an upload.
struct UploadForm: Equatable {
    var patient: UserID
    var sessionDate: Timestamp?
    var language: LanguageTag?
    var session: SessionID?
    /// The name of the recording, as people see it (``RecordingName/shown(_:)``).
    var filename: String
    /// Why the name or the declared type shows that this is no recording; nil if neither does.
    var refusal: FileKind?

    /// What the form says of the session.
    var described: UploadedSession { UploadedSession(date: sessionDate, language: language, filename: filename) }
}

/// What the server tells a client whose date or language of a session it cannot read.
enum SessionValue {
    static let dateRule = "is not a date, or a time in the form of RFC 3339."
    static let languageRule = "is not a language tag by BCP 47, such as de or de-AT."
}

/// Reads an arriving upload: first the fields, which are small, then the file, piece by piece.
///
/// The file is the last part. The server therefore knows and checks all fields before it stores the first byte.
struct UploadReader: ~Copyable {
    /// The maximum size of a field, in bytes.
    private static let fieldLimit = 1024
    /// The maximum size of all fields that the server passes over, in bytes.
    private static let surplusLimit = 65_536

    private var parser: MultipartParser
    private var body: RequestBody.AsyncIterator
    private var events: ArraySlice<MultipartParser.Event> = []
    private let limit: Int
    private var byteCount = 0
    private var surplus = 0
    /// Pieces of the file that were read ahead; nil at its end.
    private var ahead: ArraySlice<ByteBuffer?> = []
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
    /// The reader passes over fields that it does not know: forms have buttons and tokens of their own.
    ///
    /// - Returns: The fields.
    /// - Throws: 422 for a missing or bad field.
    mutating func readForm() async throws -> UploadForm {
        var fields: [String: String] = [:]
        while let event = try await next() {
            guard case .began(let part) = event else { continue }
            if part.name == "file" { return try form(fields, file: part) }
            guard ["patient_id", "session_date", "session_id", "language"].contains(part.name) else {
                try await passOver(part.name)
                continue
            }
            guard fields[part.name] == nil else {
                throw Problem.invalid(part.name, "is there twice.", .repeated).closing()
            }
            fields[part.name] = try await readField(part.name)
        }
        throw Problem.invalid("file", "is missing.", .missing)
    }

    /// The next bytes of the file; nil at its end.
    mutating func readFile() async throws -> ByteBuffer? {
        if let piece = ahead.popFirst() { return piece }
        switch try await next() {
        case .body(let bytes): return bytes
        case .ended, .began, nil: return nil
        }
    }

    /// Reads the beginning of the file, for ``readFile()`` to return it again.
    ///
    /// - Parameters:
    ///   - limit: How many bytes to read at most, to a piece.
    ///   - take: Takes each piece, and nil at the end of the file. It returns true to end the reading.
    /// - Throws: The error of `take`; those of ``readFile()``.
    mutating func readAhead(upTo limit: Int, _ take: (ByteBuffer?) throws -> Bool) async throws {
        var (read, pieces): (Int, [ByteBuffer?]) = (0, [])
        while read < limit {
            let piece = try await readFile()
            pieces.append(piece)
            read += piece?.readableBytes ?? 0
            if try take(piece) || piece == nil { break }
        }
        ahead = pieces[...]
    }

    /// Reads what follows the file.
    ///
    /// - Throws: 422 if a field follows: it comes too late for the checks.
    mutating func readEnd() async throws {
        while let event = try await next() {
            if case .began(let part) = event {
                throw Problem.invalid(Self.shown(part.name), "has to come before the file.", .misplaced).closing()
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
                throw Problem.invalid(name, "is too long.", .tooLong).closing()
            }
            value.writeBuffer(&bytes)
        }
        return String(buffer: value)
    }

    private mutating func passOver(_ name: String) async throws {
        while let event = try await next(), case .body(let bytes) = event {
            surplus += bytes.readableBytes
            guard surplus <= Self.surplusLimit else {
                throw Problem.invalid(
                    Self.shown(name), "is no field of an upload, and is too long to pass over.", .tooLong
                ).closing()
            }
        }
    }

    private func form(_ fields: [String: String], file: MultipartParser.Part) throws -> UploadForm {
        func value<Value>(_ name: String, _ reason: String, _ read: (String) -> Value?) throws -> Value? {
            guard let text = fields[name], !text.isEmpty else { return nil }
            guard let value = read(text) else { throw Problem.invalid(name, reason).closing() }
            return value
        }
        guard let patient = try value("patient_id", "is not a UUID.", { UserID($0) }) else {
            throw Problem.invalid(
                "patient_id", "is missing. Send it before the file: the file has to be the last part of the form.",
                .missing
            ).closing()
        }
        guard let filename = file.filename.map({ RecordingName.shown(RecordingName.decoded($0)) }), !filename.isEmpty
        else {
            throw Problem.invalid("file", "has no file name.").closing()
        }
        return UploadForm(
            patient: patient,
            sessionDate: try value("session_date", SessionValue.dateRule) { Timestamp(sessionDate: $0) },
            language: try value("language", SessionValue.languageRule) { LanguageTag($0) },
            session: try value("session_id", "is not a UUID.") { SessionID($0) },
            filename: filename,
            refusal: FileKind.refusal(ofName: filename) ?? file.contentType.flatMap(DeclaredType.refusal))
    }

    /// The name of a field, in a form that is safe to show.
    private static func shown(_ name: String) -> String {
        name.shown(limit: 64)
    }
}
