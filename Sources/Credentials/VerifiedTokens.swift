import Crypto
import Synchronization

/// The tokens that were found good: signature, issuer and audience, with their claims.
///
/// A client sends the same token with every request, and to verify a signature costs more than to hash the token. The
/// memory holds nothing that can change: each reader compares the expiry, and asks the database about the sign-in, at
/// each use. It belongs to one set of keys, and a new set has a new memory.
///
/// Each token has one slot, which its hash chooses. A later token takes the slot over. The size is fixed, and
/// no client can make it grow.
package final class VerifiedTokens<Claims: Sendable>: Sendable {
    /// The SHA-256 hash of a token's bytes.
    package struct Key: Hashable, Sendable {
        private let words: (UInt64, UInt64, UInt64, UInt64)

        /// Hashes a token.
        package init(_ token: [UInt8]) {
            var hash = SHA256()
            token.withUnsafeBytes { hash.update(bufferPointer: $0) }
            words = hash.finalize().withUnsafeBytes {
                $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
            }
        }

        /// Whether two tokens have the same hash.
        package static func == (one: Key, other: Key) -> Bool { one.words == other.words }

        /// Feeds the first word, which is as random as the whole hash.
        package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

        fileprivate func slot(of count: Int) -> Int { Int(words.0 % UInt64(count)) }
    }

    private let slots: Mutex<[(key: Key, claims: Claims)?]>

    /// An empty memory.
    ///
    /// - Parameter capacity: The greatest number of tokens.
    package init(capacity: Int = 1024) {
        slots = Mutex(Array(repeating: nil, count: capacity))
    }

    /// The claims of a token that was found good; nil if it is not known.
    package subscript(key: Key) -> Claims? {
        slots.withLock { slots in
            guard let found = slots[key.slot(of: slots.count)], found.key == key else { return nil }
            return found.claims
        }
    }

    /// Remembers a token that was found good.
    package func insert(_ claims: Claims, for key: Key) {
        slots.withLock { $0[key.slot(of: $0.count)] = (key, claims) }
    }

    /// The number of known tokens.
    package var count: Int { slots.withLock { $0.count(where: { $0 != nil }) } }
}
