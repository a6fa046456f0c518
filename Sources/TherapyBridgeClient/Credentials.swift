/// The tokens of a sign-in.
public struct TokenPair: Hashable, Sendable, Decodable {
    /// The access token, which each request carries.
    public let access: String
    /// The refresh token, which works once; nil for a token that cannot be refreshed.
    public let refresh: String?

    /// Makes a pair of tokens that the caller has kept.
    ///
    /// - Parameters:
    ///   - access: The access token.
    ///   - refresh: The refresh token, or nil.
    public init(access: String, refresh: String?) {
        self.access = access
        self.refresh = refresh
    }

    private enum CodingKeys: String, CodingKey {
        case access = "access_token"
        case refresh = "refresh_token"
    }
}

/// Keeps the tokens of a client, and refreshes them once for all requests that need it.
///
/// A refresh token works once, and using it again ends the sign-in.
actor Credentials {
    /// What the server answers to a refresh token.
    enum Refresh {
        case tokens(TokenPair)
        case refused(EndReason)
    }

    private var tokens: TokenPair?
    private var refreshing: Task<EndReason?, any Error>?
    private let onChange: @Sendable (TokenPair?) -> Void

    init(_ tokens: TokenPair?, onChange: @escaping @Sendable (TokenPair?) -> Void) {
        self.tokens = tokens
        self.onChange = onChange
    }

    /// The access token, or nil without a sign-in.
    var access: String? { tokens?.access }

    /// Replaces the tokens.
    func set(_ next: TokenPair?) {
        tokens = next
        onChange(next)
    }

    /// Gets new tokens, unless that has happened since `used` was sent.
    ///
    /// - Parameters:
    ///   - used: The access token that the server refused, or that has expired.
    ///   - send: Sends the refresh token.
    /// - Returns: Nil if the tokens are new, or why there are none.
    /// - Throws: The errors of `send`.
    func refresh(
        since used: String?, _ send: @escaping @Sendable (String) async throws -> Refresh
    ) async throws -> EndReason? {
        if let refreshing { return try await refreshing.value }
        guard tokens?.access == used else { return tokens == nil ? .signedOut : nil }
        guard let token = tokens?.refresh else { return .signedOut }
        // A task of its own: a caller that is cancelled must not take the new tokens away from the others.
        let task = Task {
            defer { refreshing = nil }
            switch try await send(token) {
            case .tokens(let next):
                set(next)
                return nil as EndReason?
            case .refused(let reason): return reason
            }
        }
        refreshing = task
        return try await task.value
    }
}
