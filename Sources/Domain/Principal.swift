/// On whose behalf something is done: a user, and the sign-in whose end ends it.
public struct Principal: Hashable, Sendable {
    public var user: UserID
    public var signIn: SignInID

    public init(user: UserID, signIn: SignInID) {
        self.user = user
        self.signIn = signIn
    }
}
