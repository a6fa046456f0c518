import Domain
import Metrics
import Polling
import Synchronization

/// The limits of requests in a second, by sign-in and by address (`REQUESTS_PER_SIGN_IN`, `REQUESTS_PER_ADDRESS`).
///
/// Each server counts for itself.
final class RequestLimits: Sendable {
    /// Nil if there is no limit.
    private let signIns: Mutex<TokenBuckets<SignInID>?>
    /// Nil if there is no limit.
    private let addresses: Mutex<TokenBuckets<ClientNetwork>?>
    private let clock: any MonotonicClock
    private let limitedBySignIn: Counter
    private let limitedByAddress: Counter

    init(_ settings: RequestSettings, clock: any MonotonicClock, metrics: any MetricsFactory) {
        signIns = Mutex(settings.perSignIn == 0 ? nil : TokenBuckets(rate: settings.perSignIn))
        addresses = Mutex(settings.perAddress == 0 ? nil : TokenBuckets(rate: settings.perAddress))
        self.clock = clock
        func counter(_ limit: String) -> Counter {
            Counter(label: "therapybridge_requests_limited_total", dimensions: [("limit", limit)], factory: metrics)
        }
        limitedBySignIn = counter("sign-in")
        limitedByAddress = counter("address")
    }

    /// Charges a request to the address that it came from.
    ///
    /// - Parameter network: The address; nil if it is unknown. The request is then not limited.
    /// - Throws: 429 if the bucket is empty.
    func charge(_ network: ClientNetwork?) throws(Problem) {
        guard let network, let wait = addresses.withLock({ $0?.take(from: network, at: clock.now) ?? nil }) else {
            return
        }
        limitedByAddress.increment()
        throw .limited("Too many requests from your address.", wait: wait)
    }

    /// Charges a request to the sign-in of its credential.
    ///
    /// - Throws: 429 if the bucket is empty.
    func charge(_ signIn: SignInID?) throws(Problem) {
        guard let signIn, let wait = signIns.withLock({ $0?.take(from: signIn, at: clock.now) ?? nil }) else { return }
        limitedBySignIn.increment()
        throw .limited("Too many requests under this sign-in.", wait: wait)
    }

    /// Charges the refusal of a request that is otherwise free.
    ///
    /// - Parameters:
    ///   - problem: Why the request is not served.
    ///   - network: The address that it came from; nil if it is unknown.
    /// - Throws: 429 in place of the refusal if the bucket is empty.
    func chargeRefusal(_ problem: Problem, of network: ClientNetwork?) throws(Problem) {
        switch problem.kind {
        case .unauthorized, .inactive, .forbidden, .originForbidden, .notFound: try charge(network)
        default: break
        }
    }
}
