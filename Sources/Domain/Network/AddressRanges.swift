import FoundationEssentials
import TextForms

/// Ranges of addresses, such as `10.0.0.0/8`.
public struct AddressRanges: Sendable {
    private struct Range {
        let prefix: [UInt8]
        let length: Int

        func contains(_ bytes: [UInt8]) -> Bool {
            guard bytes.count == prefix.count else { return false }
            return zip(bytes, prefix).enumerated().allSatisfy { index, pair in
                let bits = min(max(length - index * 8, 0), 8)
                let mask = UInt8(truncatingIfNeeded: 0xff << (8 - bits))
                return pair.0 & mask == pair.1 & mask
            }
        }
    }

    private var ranges: [Range] = []

    /// Reads a comma-separated list of addresses and CIDR ranges (RFC 4632, 3.1); nil if a part is neither.
    public init?(_ text: String) {
        for part in text.split(separator: ",") {
            let pieces = part.trimmed.split(
                separator: "/", omittingEmptySubsequences: false)
            guard let first = pieces.first, pieces.count <= 2, let address = IPAddress(first) else { return nil }
            let bits = address.bytes.count * 8
            var length = bits
            if pieces.count == 2 {
                guard let number = Int(pieces[1]), (0...bits).contains(number) else { return nil }
                length = number
            }
            ranges.append(Range(prefix: address.bytes, length: length))
        }
    }

    /// True if one of the ranges has the address.
    public func contains(_ address: IPAddress) -> Bool { ranges.contains { $0.contains(address.bytes) } }
}
