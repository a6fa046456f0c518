extension AudioFormat {
    /// The format of a file with a signature at its beginning; nil if there is none.
    ///
    /// An MP3 without a tag begins with a frame.
    init?(signature bytes: [UInt8]) {
        func shows(_ signature: String, at offset: Int = 0) -> Bool {
            bytes.dropFirst(offset).starts(with: signature.utf8)
        }
        if shows("RIFF") || shows("RF64") || shows("BW64"), shows("WAVE", at: 8) {
            self = .wav
        } else if shows("OggS") {
            self = .ogg
        } else if shows("fLaC") {
            self = .flac
        } else if shows("FORM"), shows("AIFF", at: 8) || shows("AIFC", at: 8) {
            self = .aiff
        } else if shows("caff\0\u{1}") {
            self = .caf
        } else if shows("#!AMR\n") {
            self = .amr
        } else if shows("#!AMR-WB\n") {
            self = .amrWideband
        } else if bytes.starts(with: [0x1A, 0x45, 0xDF, 0xA3]) {
            self = Self.isMatroska(bytes) ? .matroska : .webm
        } else if MPEGFrame(bytes, at: 0)?.format == .mp3 {
            self = .mp3
        } else {
            return nil
        }
    }

    /// True if the `DocType` in the header of an EBML file (RFC 8794, 11.2.4) is that of Matroska.
    private static func isMatroska(_ bytes: [UInt8]) -> Bool {
        let docType: [UInt8] = [0x42, 0x82, 0x88] + Array("matroska".utf8)
        return bytes.prefix(64).firstRange(of: docType) != nil
    }
}

/// The header of an ID3 tag of version 2 (https://id3.org/id3v2.4.0-structure, 3.1).
package enum ID3Tag {
    static let signature = Array("ID3".utf8)

    /// The number of bytes of the tag at the beginning of some bytes; nil if there is none.
    package static func length(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 10, bytes.starts(with: signature), bytes[3] < 0xFF, bytes[4] < 0xFF,
            bytes[6..<10].allSatisfy({ $0 < 0x80 })
        else { return nil }
        let size = bytes[6..<10].reduce(0) { $0 << 7 | Int($1) }
        let hasFooter = bytes[3] >= 4 && bytes[5] & 0x10 != 0
        return 10 + size + (hasFooter ? 10 : 0)
    }
}
