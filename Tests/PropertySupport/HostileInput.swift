/// What parsers are tried with: pieces of what they know, in no order, and good input with a few bytes changed.
extension SeededGenerator {
    /// One of two, true once in `times`.
    public mutating func happens(oneIn times: Int) -> Bool { Int.random(in: 0..<times, using: &self) == 0 }

    /// One of the elements.
    public mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &self)]
    }

    /// A number of bytes, each any.
    public mutating func bytes(_ count: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: count, using: &self)).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }

    /// Pieces in any order, and among them now and then a stray byte.
    public mutating func jumble(of pieces: [String], count: ClosedRange<Int>) -> [UInt8] {
        var result: [UInt8] = []
        for _ in 0..<Int.random(in: count, using: &self) {
            if happens(oneIn: 8) { result += bytes(1...3) } else { result += pick(pieces).utf8 }
        }
        return result
    }

    /// The same as text; what is no UTF-8 becomes U+FFFD.
    public mutating func text(of pieces: [String], count: ClosedRange<Int>) -> String {
        String(decoding: jumble(of: pieces, count: count), as: UTF8.self)
    }

    /// Good input with a few changes: bytes flipped, lost, doubled, swapped, put in.
    public mutating func mutation(of input: [UInt8], changes: ClosedRange<Int> = 1...4) -> [UInt8] {
        var result = input
        for _ in 0..<Int.random(in: changes, using: &self) where !result.isEmpty {
            let place = Int.random(in: result.indices, using: &self)
            let other = Int.random(in: result.indices, using: &self)
            switch Int.random(in: 0..<6, using: &self) {
            case 0: result[place] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1: result[place] = pick([0, 9, 10, 13, 32, 34, 44, 45, 48, 57, 59, 61, 92, 127, 128, 0xC3, 0xFF])
            case 2: result.remove(at: place)
            case 3: result.swapAt(place, other)
            case 4: result.insert(contentsOf: bytes(1...4), at: place)
            default:
                let piece = result[min(place, other)...max(place, other)].prefix(64)
                result.insert(contentsOf: piece, at: place)
            }
        }
        return result
    }

    /// A whole cut into pieces at random, some of them empty.
    public mutating func pieces(of bytes: [UInt8], longest: Int) -> [ArraySlice<UInt8>] {
        var pieces: [ArraySlice<UInt8>] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 0...longest, using: &self))
            pieces.append(piece)
            rest = rest[piece.endIndex...]
        }
        return pieces
    }
}
