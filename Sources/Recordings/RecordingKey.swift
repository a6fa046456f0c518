import Crypto
import FoundationEssentials
import Synchronization
import TextForms

/// A key that encrypts recordings at rest: 256 random bits.
public struct RecordingKey: Sendable {
    /// The length of a key in bytes.
    static let byteCount = 32

    /// The name of the key in encrypted files: the beginning of a hash, which does not reveal the key.
    let id: [UInt8]
    let secret: SymmetricKey

    /// Reads the content of a key's file: 32 bytes as they are, 64 hexadecimal digits, or base64.
    ///
    /// - Returns: Nil for anything else, and for 32 characters of text: they are a password, or the digits of half a
    ///   key.
    public init?(contents: some Sequence<UInt8>) {
        let contents = Array(contents)
        let isText = contents.allSatisfy { (0x20...0x7E).contains($0) || $0 == 0x0A || $0 == 0x0D }
        if !isText {
            self.init(bytes: contents)
            return
        }
        let text = String(decoding: contents, as: UTF8.self).trimmedOfLines
        if text.utf8.count == 2 * Self.byteCount, text.utf8.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }) {
            self.init(
                bytes: stride(from: 0, to: text.count, by: 2).compactMap {
                    UInt8(text.dropFirst($0).prefix(2), radix: 16)
                })
        } else {
            self.init(bytes: Data(base64Encoded: text).map(Array.init) ?? [])
        }
    }

    private init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        secret = SymmetricKey(data: bytes)
        var hasher = SHA256()
        hasher.update(data: Data("therapybridge recording key".utf8))
        hasher.update(data: bytes)
        id = Array(hasher.finalize().prefix(RecordingSeal.keyIDSize))
    }
}

/// The keys of a site: the present one, and earlier ones that only decrypt.
public struct RecordingKeys: Sendable {
    /// The keys of one moment.
    private struct Ring {
        let current: RecordingKey
        let keys: [[UInt8]: RecordingKey]
    }

    /// All copies of a value share the keys.
    private final class Holder: Sendable {
        let ring: Mutex<Ring>

        init(_ ring: Ring) { self.ring = Mutex(ring) }
    }

    private let holder: Holder

    /// The key of new recordings.
    var current: RecordingKey { holder.ring.withLock(\.current) }

    /// Puts the keys of a site together.
    ///
    /// - Parameters:
    ///   - current: The key that encrypts.
    ///   - previous: The keys that only decrypt.
    public init(current: RecordingKey, previous: [RecordingKey] = []) {
        holder = Holder(Self.ring(current, previous))
    }

    private static func ring(_ current: RecordingKey, _ previous: [RecordingKey]) -> Ring {
        Ring(
            current: current,
            keys: Dictionary(([current] + previous).map { ($0.id, $0) }) { first, _ in first })
    }

    /// Replaces the keys, in all copies of this value.
    ///
    /// Earlier keys stay in use for reading: a recording that is being written needs its key, and an operator may forget to list
    /// it.
    ///
    /// - Parameter other: The new keys.
    func replace(by other: RecordingKeys) {
        let new = other.holder.ring.withLock(\.self)
        holder.ring.withLock { $0 = Ring(current: new.current, keys: $0.keys.merging(new.keys) { $1 }) }
    }

    /// The key with the id that a file names; nil if the site does not have it.
    subscript(id: [UInt8]) -> RecordingKey? { holder.ring.withLock { $0.keys[id] } }
}

/// Why a stored recording cannot be read.
public struct RecordingError: Error, Equatable, CustomStringConvertible {
    /// The kinds of error.
    public enum Code: Sendable {
        /// The file is not what was stored: it was changed, cut off or replaced.
        case damaged
        /// The site does not have the key of the file.
        case unknownKey
    }

    /// The kind of the error.
    public let code: Code

    init(_ code: Code) { self.code = code }

    /// One line about the error.
    ///
    /// It names neither a file nor a key.
    public var description: String {
        switch code {
        case .damaged: "the stored recording is damaged, or was tampered with"
        case .unknownKey: "the key of the stored recording is in neither UPLOAD_KEY_FILE nor UPLOAD_PREVIOUS_KEY_FILES"
        }
    }
}
