import Crypto
import CryptoExtras
public import Domain
import FoundationEssentials
import NIOPosix
import Synchronization
import TextForms

/// Hashes passwords with scrypt (RFC 7914), on its own threads.
///
/// The server never has a stored hash. It hashes what a client sends with the salt and the cost of the stored hash, and
/// the database compares the two.
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

    /// Why a password could not be hashed.
    public enum Failure: Error, Equatable {
        /// Too many hashes already wait.
        case overloaded
        /// The stored text is not the beginning of a hash of this program.
        case malformedHash
        /// The password breaks a rule. The text explains it to the owner.
        case unacceptable(String)
    }

    /// The minimum length of a password, in characters (NIST SP 800-63B, 5.1.1.2: "at least 8 characters in length").
    public static let minimumLength = 8
    /// The maximum length of a password, in characters (the same section: at least 64 must be permitted).
    public static let maximumLength = 256

    /// Derives a key of 32 bytes from a password, a salt and a cost.
    typealias KeyDerivation = @Sendable (_ password: [UInt8], _ salt: [UInt8], Cost) throws -> [UInt8]

    private let cost: Cost
    private let derive: KeyDerivation
    private let pool: NIOThreadPool
    private let waitingLimit: Int
    private let waiting = Mutex(0)
    /// Stand for an account that does not exist, or has no password.
    private let decoy: PasswordParameters

    /// Starts the threads.
    ///
    /// - Parameters:
    ///   - cost: The work of a new hash. A password is compared with a stored hash at the cost of the latter.
    ///   - threads: How many hashes run at a time.
    ///   - waitingLimit: How many hashes may run or wait.
    public convenience init(cost: Cost = .standard, threads: Int = 2, waitingLimit: Int = 64) {
        self.init(cost: cost, threads: threads, waitingLimit: waitingLimit, derive: PasswordParameters.scrypt)
    }

    /// Starts the threads, for a key derivation that a test counts.
    init(cost: Cost, threads: Int = 2, waitingLimit: Int = 64, derive: @escaping KeyDerivation) {
        self.cost = cost
        self.derive = derive
        self.waitingLimit = waitingLimit
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
        decoy = PasswordParameters(cost: cost)
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
    ///
    /// - Parameter parameters: The hash without its last part, as for ``hash(_:like:)``.
    /// - Returns: False without a hash, and for a malformed one.
    public func isOutdated(_ parameters: String?) -> Bool {
        guard let stored = parameters.flatMap({ PasswordParameters($0) }) else { return false }
        return stored.cost.memory < cost.memory || stored.cost.work < cost.work
    }

    /// Hashes a password that is already in use, and may be older than the present rules.
    ///
    /// - Parameter password: The password.
    /// - Returns: The hash in the PHC string format.
    /// - Throws: ``Failure/overloaded``.
    public func rehash(_ password: String) async throws -> String {
        let parameters = PasswordParameters(cost: cost)
        return try await run { [derive] in try parameters.hash(password, by: derive) }
    }

    /// Hashes a password with the salt and the cost of a stored hash.
    ///
    /// The work is the same for an account without a password, for a hash of the present cost, and for a cheaper one,
    /// which gets the missing work on top. The time of an answer therefore says nothing about the account.
    ///
    /// - Parameters:
    ///   - password: The password of the client.
    ///   - parameters: The stored hash without its last part: `$scrypt$ln=15,r=8,p=3$salt`; nil if the account does not
    ///     exist or has no password.
    /// - Returns: The hash in the PHC string format, which equals the stored one if the password is right. Empty for a
    ///   password that is too long to be right.
    /// - Throws: ``Failure/malformedHash`` or ``Failure/overloaded``.
    public func hash(_ password: String, like parameters: String?) async throws -> String {
        let stored: PasswordParameters
        if let parameters {
            guard let parsed = PasswordParameters(parameters) else { throw Failure.malformedHash }
            stored = parsed
        } else {
            stored = decoy
        }
        guard Self.length(of: password) <= Self.maximumLength else { return "" }
        let supplements = supplements(to: stored.cost)
        return try await run { [derive] in
            for cost in supplements { _ = try PasswordParameters(cost: cost).hash(password, by: derive) }
            return try stored.hash(password, by: derive)
        }
    }

    /// The work that a stored hash lacks to that of a new one.
    ///
    /// The time of a hash grows with its memory and with the passes over it, and a pass over less memory is a little cheaper
    /// than its share, thanks to caches. As many passes as possible therefore use the memory of a new hash.
    func supplements(to stored: Cost) -> [Cost] {
        var missing = cost.work - stored.work
        return [cost, stored].compactMap { unit in
            let passes = max(missing, 0) / unit.memory
            missing -= passes * unit.memory
            return passes > 0 ? Cost(logN: unit.logN, blockSize: unit.blockSize, parallelism: passes) : nil
        }
    }

    /// The length of a password in the form that is hashed, in Unicode scalars.
    ///
    /// NIST SP 800-63B, 5.1.1.2: "For purposes of the above length requirements, each Unicode code point SHALL be counted as
    /// a single character."
    static func length(of password: String) -> Int {
        password.compatibleForm.unicodeScalars.count
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

/// The cost and the salt of a scrypt hash.
struct PasswordParameters: Sendable, CustomStringConvertible {
    let cost: Passwords.Cost
    let salt: [UInt8]

    /// Makes parameters with a random salt.
    init(cost: Passwords.Cost) {
        self.cost = cost
        salt = SymmetricKey(size: .bits128).withUnsafeBytes { Array($0) }
    }

    /// Reads the beginning of the PHC string format; nil if the text has another format, or an excessive cost.
    init?(_ text: String) {
        let pattern = /\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+\/]+)/
        guard let match = text.wholeMatch(of: pattern)?.output,
            let logN = Int(match.1), let blockSize = Int(match.2), let parallelism = Int(match.3),
            // A manipulated hash must not exhaust the machine: at most 256 MiB and 16 passes.
            (1...20).contains(logN), (1...32).contains(blockSize), (1...16).contains(parallelism),
            128 * blockSize << logN <= 256 << 20,
            let salt = Self.unpadded(match.4)
        else { return nil }
        cost = .init(logN: logN, blockSize: blockSize, parallelism: parallelism)
        self.salt = salt
    }

    var description: String {
        "$scrypt$ln=\(cost.logN),r=\(cost.blockSize),p=\(cost.parallelism)$\(Self.unpadded(salt))"
    }

    /// The hash of a password, in the PHC string format.
    func hash(_ password: String, by derive: Passwords.KeyDerivation) throws -> String {
        // NIST SP 800-63B, 5.1.1.2: normalize Unicode. A password is then the same from every keyboard.
        let key = try derive(Array(password.compatibleForm.utf8), salt, cost)
        return "\(self)$\(Self.unpadded(key))"
    }

    /// Derives a key with scrypt (RFC 7914).
    static let scrypt: Passwords.KeyDerivation = { password, salt, cost in
        try KDF.Scrypt.deriveKey(
            from: password, salt: salt, outputByteCount: 32, rounds: 1 << cost.logN, blockSize: cost.blockSize,
            parallelism: cost.parallelism
        ).withUnsafeBytes { Array($0) }
    }

    private static func unpadded(_ bytes: [UInt8]) -> String {
        String(Data(bytes).base64EncodedString().prefix { $0 != "=" })
    }

    private static func unpadded(_ text: Substring) -> [UInt8]? {
        let padding = String(repeating: "=", count: (4 - text.count % 4) % 4)
        return Data(base64Encoded: text + padding).map { Array($0) }
    }
}
