import Domain
import Store

// The members of a body that name a lease.

extension PresentedLease {
    /// The members `lease` and `attempt` of a body.
    ///
    /// - Throws: 422 for a value that no lease can have.
    init(of session: SessionID, text: String, number: Int) throws(Problem) {
        guard !text.utf8.contains(0) else { throw .invalid("lease", "cannot hold a NUL character.") }
        guard number >= 1 else { throw .invalid("attempt", "has to be at least 1.") }
        self.init(of: session, attempt: number, lease: LeaseToken(text))
    }
}

extension Duration {
    /// The length of a lease from the member `lease_seconds`.
    ///
    /// - Throws: 422 unless it is between 1 second and 1 day.
    init(leaseSeconds seconds: Double) throws(Problem) {
        guard (1...86_400).contains(seconds) else {
            throw .invalid("lease_seconds", "has to be a number from 1 to 86,400.")
        }
        self = .seconds(seconds)
    }
}
