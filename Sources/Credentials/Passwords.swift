import Crypto
import CryptoExtras
public import Domain
import Foundation
import NIOPosix
import Synchronization

/// Hashes and verifies passwords with scrypt (RFC 7914), on its own threads.
///
/// By design, one hash takes tens of megabytes and tens of milliseconds. It therefore never runs on the threads that
/// serve requests. As many hashes run at a time as there are threads here, and the number of waiting ones is limited:
/// during a flood of sign-ins, clients have to come back later, and the machine survives.
public final class Passwords: Sendable {
    /// The work of one hash.
    public struct Cost: Sendable, Equatable {
        /// The base-2 logarithm of scrypt's cost: memory is 2^logN × blockSize × 128 bytes.
        public var logN: Int
        /// scrypt's r.
        public var blockSize: Int
        /// scrypt's p.
        public var parallelism: Int

        /// A cost by the parameters of scrypt.
        public init(logN: Int, blockSize: Int, parallelism: Int) {
            self.logN = logN
            self.blockSize = blockSize
            self.parallelism = parallelism
        }

        /// The memory and the time of a hash, in units that allow a comparison.
        var memory: Int { blockSize << logN }
        var work: Int { memory * parallelism }

        /// 32 MiB and three passes, one of the equivalent minimums in the OWASP Password Storage Cheat Sheet.
        public static let standard = Cost(logN: 15, blockSize: 8, parallelism: 3)
    }

    /// Why a password could not be hashed or verified.
    public enum Failure: Error, Equatable {
        /// Too many hashes already wait.
        case overloaded
        /// The stored text is not a hash of this program.
        case malformedHash
        /// The password breaks a rule. The text explains it to the owner.
        case unacceptable(String)
    }

    /// The minimum length of a password, in characters (NIST SP 800-63B, 5.1.1.2: "at least 8 characters in length").
    public static let minimumLength = 8
    /// The maximum length of a password, in characters (the same section: at least 64 must be permitted).
    public static let maximumLength = 256

    private let cost: Cost
    private let pool: NIOThreadPool
    private let waitingLimit: Int
    private let waiting = Mutex(0)
    /// The hash that stands for an unknown account.
    ///
    /// Its verification takes as long as a real one.
    private let decoy: PasswordHash

    /// Starts the threads.
    ///
    /// - Parameters:
    ///   - cost: The work of a new hash. A stored hash is verified at its own cost.
    ///   - threads: How many hashes run at a time.
    ///   - waitingLimit: How many hashes may run or wait.
    public init(cost: Cost = .standard, threads: Int = 2, waitingLimit: Int = 64) {
        self.cost = cost
        self.waitingLimit = waitingLimit
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
        decoy = PasswordHash(cost: cost, salt: PasswordHash.randomSalt(), key: Array(repeating: 0, count: 32))
    }

    deinit {
        pool.shutdownGracefully { _ in }
    }

    /// Hashes a new password.
    ///
    /// - Parameters:
    ///   - password: The password.
    ///   - email: The address of its account, which the password cannot contain.
    /// - Returns: The hash in the PHC string format: `$scrypt$ln=15,r=8,p=3$salt$key`.
    /// - Throws: ``Failure/unacceptable(_:)`` or ``Failure/overloaded``.
    public func hash(_ password: String, for email: EmailAddress? = nil) async throws -> String {
        if let complaint = PasswordRules.complaint(about: password, of: email) {
            throw Failure.unacceptable(complaint)
        }
        return try await rehash(password)
    }

    /// True if a stored hash takes less work than a new one.
    public func isOutdated(_ hash: String) -> Bool {
        guard let stored = PasswordHash(hash) else { return false }
        return stored.cost.memory < cost.memory || stored.cost.work < cost.work
    }

    /// Hashes a password that is already in use, and may be older than the present rules.
    ///
    /// - Parameter password: The password.
    /// - Returns: The hash in the PHC string format.
    /// - Throws: ``Failure/overloaded``.
    public func rehash(_ password: String) async throws -> String {
        let cost = cost
        return try await run { try PasswordHash(password: password, cost: cost).description }
    }

    /// Verifies a password against a hash.
    ///
    /// - Parameters:
    ///   - password: The password of the client.
    ///   - hash: The stored hash; nil if the account does not exist or has no password.
    /// - Returns: True if the hash was made from the password. Without a hash, false after the same work.
    /// - Throws: ``Failure/malformedHash`` or ``Failure/overloaded``.
    public func verify(_ password: String, against hash: String?) async throws -> Bool {
        let expected: PasswordHash
        if let hash {
            guard let parsed = PasswordHash(hash) else { throw Failure.malformedHash }
            expected = parsed
        } else {
            expected = decoy
        }
        guard password.count <= Self.maximumLength else { return false }
        return try await run { try expected.matches(password) } && hash != nil
    }

    private func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        let isAdmitted = waiting.withLock { waiting in
            guard waiting < waitingLimit else { return false }
            waiting += 1
            return true
        }
        guard isAdmitted else { throw Failure.overloaded }
        defer { waiting.withLock { $0 -= 1 } }
        return try await pool.runIfActive(work)
    }
}

/// One scrypt hash with its parameters.
struct PasswordHash: CustomStringConvertible {
    let cost: Passwords.Cost
    let salt: [UInt8]
    let key: [UInt8]

    init(cost: Passwords.Cost, salt: [UInt8], key: [UInt8]) {
        self.cost = cost
        self.salt = salt
        self.key = key
    }

    init(password: String, cost: Passwords.Cost) throws {
        let salt = Self.randomSalt()
        self.init(cost: cost, salt: salt, key: try Self.derive(password, cost: cost, salt: salt))
    }

    /// Reads the PHC string format; nil if the text has another format, or an excessive cost.
    init?(_ text: String) {
        let pattern = /\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+\/]+)\$([A-Za-z0-9+\/]+)/
        guard let match = text.wholeMatch(of: pattern)?.output,
            let logN = Int(match.1), let blockSize = Int(match.2), let parallelism = Int(match.3),
            // A manipulated hash must not exhaust the machine: at most 256 MiB and 16 passes.
            (1...20).contains(logN), (1...32).contains(blockSize), (1...16).contains(parallelism),
            128 * blockSize << logN <= 256 << 20,
            let salt = Self.unpadded(match.4), let key = Self.unpadded(match.5)
        else { return nil }
        self.init(
            cost: .init(logN: logN, blockSize: blockSize, parallelism: parallelism), salt: salt, key: key)
    }

    var description: String {
        "$scrypt$ln=\(cost.logN),r=\(cost.blockSize),p=\(cost.parallelism)$\(Self.unpadded(salt))$\(Self.unpadded(key))"
    }

    /// Compares in a time that does not reveal how many bytes match.
    func matches(_ password: String) throws -> Bool {
        let derived = try Self.derive(password, cost: cost, salt: salt)
        guard derived.count == key.count else { return false }
        return zip(derived, key).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    static func randomSalt() -> [UInt8] {
        SymmetricKey(size: .bits128).withUnsafeBytes { Array($0) }
    }

    private static func derive(_ password: String, cost: Passwords.Cost, salt: [UInt8]) throws -> [UInt8] {
        // NIST SP 800-63B, 5.1.1.2: normalize Unicode. A password is then the same from every keyboard.
        let key = try KDF.Scrypt.deriveKey(
            from: Array(password.precomposedStringWithCompatibilityMapping.utf8), salt: salt, outputByteCount: 32,
            rounds: 1 << cost.logN, blockSize: cost.blockSize, parallelism: cost.parallelism)
        return key.withUnsafeBytes { Array($0) }
    }

    private static func unpadded(_ bytes: [UInt8]) -> String {
        String(Data(bytes).base64EncodedString().prefix { $0 != "=" })
    }

    private static func unpadded(_ text: Substring) -> [UInt8]? {
        let padding = String(repeating: "=", count: (4 - text.count % 4) % 4)
        return Data(base64Encoded: text + padding).map { Array($0) }
    }
}
