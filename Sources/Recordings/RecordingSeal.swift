import Crypto
import FoundationEssentials
import NIOCore

/// The encryption of one stored recording.
///
/// A file is a header and chunks:
///
/// ```
/// header   "\x89TBREC\x1A" · version 1 (1 byte) · key id (8 bytes) · salt (32 random bytes)
/// chunks   of 64 KiB of plaintext each, the last one shorter or as long; each followed by its tag of 16 bytes
/// ```
///
/// HKDF-SHA256 (RFC 5869) derives the file's own key from the site's key, the salt, the header and the name of the
/// file. AES-256-GCM encrypts the chunks by the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online
/// Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, CRYPTO 2015), as in Tink's streaming AEAD and in age
/// (https://age-encryption.org/v1). The nonce is the index of the chunk in 11 bytes, big-endian, and one byte that is 1
/// for the last chunk and 0 for the others. The header is additional data.
///
/// A chunk is therefore valid only at its own index in its own file. A changed, moved, missing or foreign chunk is
/// refused, and so is a file under another name. Only the last chunk shows whether the end was cut off. A reader must
/// therefore check it first. Any chunk can be read without the earlier ones. Only an empty recording has an empty
/// chunk.
///
/// No key and nonce may seal two plaintexts. Each file has a salt of its own, and each chunk is sealed once: a file is written
/// from its beginning to its end by one request. What a request of a resumable upload leaves behind is never written again
/// (``RecordingPartWriter``).
struct RecordingSeal: Sendable {
    /// The size of a chunk's plaintext in bytes.
    ///
    /// The last chunk may be shorter.
    static let chunkSize = 65_536
    static let tagSize = 16
    static let keyIDSize = 8
    static let headerSize = 48
    private static let saltSize = 32
    /// The first bytes of a sealed file, with the version.
    ///
    /// No recording begins like this (see `AudioFormat`).
    private static let magic: [UInt8] = [0x89] + Array("TBREC".utf8) + [0x1A, 1]
    private static let sealedChunkSize = chunkSize + tagSize

    let header: [UInt8]
    private let key: SymmetricKey

    /// Makes the seal of a new file.
    ///
    /// - Parameters:
    ///   - key: The site's key.
    ///   - name: The name of the file.
    init(key: RecordingKey, name: String) {
        var generator = SystemRandomNumberGenerator()
        let salt = (0..<Self.saltSize).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        self.init(header: Self.magic + key.id + salt, key: key, name: name)
    }

    /// Reads the header of a sealed file.
    ///
    /// - Throws: ``RecordingError``.
    init(header: [UInt8], keys: RecordingKeys?, name: String) throws(RecordingError) {
        guard header.count == Self.headerSize, header.starts(with: Self.magic) else { throw RecordingError(.damaged) }
        let id = Array(header.dropFirst(Self.magic.count).prefix(Self.keyIDSize))
        guard let key = keys?[id] else { throw RecordingError(.unknownKey) }
        self.init(header: header, key: key, name: name)
    }

    private init(header: [UInt8], key: RecordingKey, name: String) {
        self.header = header
        self.key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: key.secret, salt: header.suffix(Self.saltSize),
            info: Data("therapybridge recording\0".utf8) + header + Data(name.utf8), outputByteCount: 32)
    }

    // MARK: - Sizes

    /// The size of the plaintext in a sealed file; nil if no sealed file has that size.
    static func plainSize(ofSealed size: Int64) -> Int64? {
        let body = size - Int64(headerSize)
        guard body >= tagSize else { return nil }
        let full = Int64(sealedChunkSize)
        let chunks = (body + full - 1) / full
        let last = body - (chunks - 1) * full
        guard last > tagSize || last == tagSize && chunks == 1 else { return nil }
        return body - chunks * Int64(tagSize)
    }

    /// The index of the last chunk of a plaintext of that size.
    static func lastChunk(of size: Int64) -> Int64 { max(size - 1, 0) / Int64(chunkSize) }

    /// The offset of a chunk in the sealed file.
    static func offset(ofChunk index: Int64) -> Int64 { Int64(headerSize) + index * Int64(sealedChunkSize) }

    // MARK: - Chunks

    /// Seals plaintext, chunk by chunk.
    ///
    /// - Parameters:
    ///   - plain: Whole chunks. Only the end may be shorter.
    ///   - first: The index of the first chunk.
    ///   - isEnd: True if nothing follows.
    /// - Returns: The sealed chunks.
    /// - Throws: The error of the cipher. No input of this method causes one.
    func seal(_ plain: ByteBuffer, from first: Int64, isEnd: Bool) throws -> ByteBuffer {
        var plain = plain
        var sealed = ByteBuffer()
        sealed.reserveCapacity(plain.readableBytes + (plain.readableBytes / Self.chunkSize + 1) * Self.tagSize)
        var index = first
        repeat {
            let isLast = isEnd && plain.readableBytes <= Self.chunkSize
            let chunk = plain.readSlice(length: min(Self.chunkSize, plain.readableBytes)) ?? ByteBuffer()
            precondition(isLast || chunk.readableBytes == Self.chunkSize, "a part of a chunk before the end")
            Self.onUse?(Use(header: header, key: key, index: index, isLast: isLast))
            let box = try chunk.withUnsafeReadableBytes {
                try AES.GCM.seal(
                    $0, using: key, nonce: Self.nonce(index, isLast: isLast), authenticating: header)
            }
            sealed.writeBytes(box.ciphertext)
            sealed.writeBytes(box.tag)
            index += 1
        } while plain.readableBytes > 0
        return sealed
    }

    /// A key and a nonce that seal one chunk.
    ///
    /// No key and nonce may seal two plaintexts: their difference would show, and forged chunks would pass.
    struct Use: Hashable, Sendable {
        /// The header, with the key's id and the salt.
        let header: [UInt8]
        /// The key that is derived from them.
        let key: SymmetricKey
        let index: Int64
        let isLast: Bool

        static func == (left: Use, right: Use) -> Bool {
            left.key == right.key && left.index == right.index && left.isLast == right.isLast
        }

        func hash(into hasher: inout Hasher) {
            key.withUnsafeBytes { hasher.combine(bytes: $0) }
            hasher.combine(index)
            hasher.combine(isLast)
        }
    }

    /// Sees every use of a key and a nonce in the present task and its children; nil outside of tests.
    @TaskLocal static var onUse: (@Sendable (Use) -> Void)?

    /// Opens one chunk.
    ///
    /// - Throws: ``RecordingError/Code/damaged`` when it is not the valid chunk of this index.
    func open(_ sealed: ByteBuffer, index: Int64, isLast: Bool) throws(RecordingError) -> ByteBuffer {
        let size = sealed.readableBytes - Self.tagSize
        guard (0...Self.chunkSize).contains(size),
            let plain = sealed.withUnsafeReadableBytes({ bytes in
                try? AES.GCM.open(
                    AES.GCM.SealedBox(
                        nonce: Self.nonce(index, isLast: isLast), ciphertext: bytes.prefix(size),
                        tag: bytes.suffix(Self.tagSize)),
                    using: key, authenticating: header)
            })
        else { throw RecordingError(.damaged) }
        return ByteBuffer(bytes: plain)
    }

    private static func nonce(_ index: Int64, isLast: Bool) throws -> AES.GCM.Nonce {
        let counter = withUnsafeBytes(of: UInt64(index).bigEndian) { Array($0) }
        return try AES.GCM.Nonce(data: [0, 0, 0] + counter + [isLast ? 1 : 0])
    }
}
