import Credentials
import Domain
import Logging
import Store

/// Checks passwords against hashes that only the database knows.
struct PasswordCheck: Sendable {
    let users: UserStore
    let passwords: Passwords

    /// A password of a client, and what the database says about it.
    struct Result: Sendable {
        /// The account of the address; nil if there is none.
        let account: Account?
        /// The hash that the server has computed from the password.
        let presented: String
        let verdict: UserStore.PasswordVerdict
    }

    /// Checks the password of an account.
    ///
    /// An unknown account costs the same work and the same statements as a known one. The time of the answer therefore does
    /// not reveal whether the account exists.
    ///
    /// - Throws: `Passwords.Failure` if too many hashes wait; the error of the database.
    func check(_ password: String, of email: EmailAddress) async throws -> Result {
        let account = try await users.account(email: email)
        let presented = try await passwords.hash(password, like: account?.passwordParameters)
        let verdict = try await users.compare(presented, of: account?.id ?? .random())
        return Result(account: account, presented: presented, verdict: verdict)
    }

    /// Replaces a right password's hash by one of today's cost, if the stored one is cheaper.
    ///
    /// Only a sign-in has the password at hand. It calls this before it begins: a later change of the hash would end it. A
    /// failure is logged only.
    ///
    /// - Returns: The present hash.
    func renewed(_ password: String, _ account: Account, presented: String, logger: Logger) async -> String {
        guard passwords.isOutdated(account.passwordParameters) else { return presented }
        do {
            let rehashed = try await passwords.rehash(password)
            return try await users.replace(presented, by: rehashed, of: account.id) ? rehashed : presented
        } catch {
            logger.notice("cannot replace the hash of a password", metadata: ["error": "\(error)"])
            return presented
        }
    }
}
