/// Hostile input for parsers: pieces of their format in random order, and valid input with a few changed bytes.
extension SeededGenerator {
    /// Returns true once in `times` calls on average.
    public mutating func happens(oneIn times: Int) -> Bool { Int.random(in: 0..<times, using: &self) == 0 }

    /// Draws one of the elements.
    public mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &self)]
    }

    /// Draws random bytes.
    ///
    /// - Parameter count: The possible numbers of bytes.
    /// - Returns: The bytes.
    public mutating func bytes(_ count: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: count, using: &self)).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }

    /// Joins random pieces, with a stray byte from time to time.
    ///
    /// - Parameters:
    ///   - pieces: The pieces.
    ///   - count: The possible numbers of pieces.
    /// - Returns: The bytes.
    public mutating func jumble(of pieces: [String], count: ClosedRange<Int>) -> [UInt8] {
        var result: [UInt8] = []
        for _ in 0..<Int.random(in: count, using: &self) {
            if happens(oneIn: 8) { result += bytes(1...3) } else { result += pick(pieces).utf8 }
        }
        return result
    }

    /// Joins random pieces to a text.
    ///
    /// Bytes that are not UTF-8 become U+FFFD.
    ///
    /// - Parameters:
    ///   - pieces: The pieces.
    ///   - count: The possible numbers of pieces.
    /// - Returns: The text.
    public mutating func text(of pieces: [String], count: ClosedRange<Int>) -> String {
        String(decoding: jumble(of: pieces, count: count), as: UTF8.self)
    }

    /// Changes valid input: flips, replaces, removes, swaps, inserts or repeats bytes.
    ///
    /// - Parameters:
    ///   - input: The valid input.
    ///   - changes: The possible numbers of changes.
    /// - Returns: The changed input.
    public mutating func mutation(of input: [UInt8], changes: ClosedRange<Int> = 1...4) -> [UInt8] {
        var result = input
        for _ in 0..<Int.random(in: changes, using: &self) where !result.isEmpty {
            let index = Int.random(in: result.indices, using: &self)
            let other = Int.random(in: result.indices, using: &self)
            switch Int.random(in: 0..<6, using: &self) {
            case 0: result[index] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1: result[index] = pick([0, 9, 10, 13, 32, 34, 44, 45, 48, 57, 59, 61, 92, 127, 128, 0xC3, 0xFF])
            case 2: result.remove(at: index)
            case 3: result.swapAt(index, other)
            case 4: result.insert(contentsOf: bytes(1...4), at: index)
            default:
                let piece = result[min(index, other)...max(index, other)].prefix(64)
                result.insert(contentsOf: piece, at: index)
            }
        }
        return result
    }

    /// Cuts bytes into random pieces.
    ///
    /// Some are empty.
    ///
    /// - Parameters:
    ///   - bytes: The bytes.
    ///   - longest: The largest length of a piece.
    /// - Returns: The pieces in order.
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
