import Foundation

/// Bytes that grow, with the numbers of file formats.
struct Bytes {
    var data = Data()

    init(_ text: String = "") { data = Data(text.utf8) }

    mutating func add(_ text: String) { data += Data(text.utf8) }
    mutating func add(_ bytes: [UInt8]) { data += Data(bytes) }
    mutating func add(_ bytes: Data) { data += bytes }
    mutating func zeros(_ count: Int) { data += Data(count: count) }

    /// Adds a number whose highest byte comes first.
    mutating func big(_ value: Int, _ count: Int) {
        for index in (0..<count).reversed() { data.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    /// Adds a number whose lowest byte comes first.
    mutating func little(_ value: Int, _ count: Int) {
        for index in 0..<count { data.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    /// Adds a box of MP4: its size, its name and its contents.
    mutating func box(_ name: String, _ write: (inout Bytes) -> Void) {
        var contents = Bytes()
        write(&contents)
        big(contents.data.count + 8, 4)
        add(name)
        add(contents.data)
    }

    /// Adds an element of Matroska: its number, its size in eight bytes and its contents.
    mutating func element(_ number: Int, _ count: Int, _ write: (inout Bytes) -> Void) {
        var contents = Bytes()
        write(&contents)
        big(number, count)
        big(1 << 56 | contents.data.count, 8)
        add(contents.data)
    }
}

/// Checksums of audio formats: a polynomial, the highest bit first.
struct Checksum {
    let width: Int
    let polynomial: UInt32

    /// The frame header of FLAC: RFC 9639, 9.1.8.
    static let flacHeader = Checksum(width: 8, polynomial: 0x07)
    /// The frame of FLAC: RFC 9639, 9.3.
    static let flacFrame = Checksum(width: 16, polynomial: 0x8005)
    /// The page of Ogg: RFC 3533, 6.
    static let oggPage = Checksum(width: 32, polynomial: 0x04c1_1db7)

    func callAsFunction(_ data: Data) -> Int {
        var remainder: UInt32 = 0
        for byte in data {
            remainder ^= UInt32(byte) << UInt32(24)
            for _ in 0..<8 {
                let carries = remainder & 0x8000_0000 != 0
                remainder <<= 1
                if carries { remainder ^= polynomial << UInt32(32 - width) }
            }
        }
        return Int(remainder >> UInt32(32 - width))
    }
}
