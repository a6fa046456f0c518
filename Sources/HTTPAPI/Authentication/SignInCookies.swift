import DurationUnits
import HTTPTypes
import Hummingbird

/// The cookies of a browser that has signed in.
///
/// Scripts cannot read them, and pages of other websites cannot send them.
struct SignInCookies {
    /// Carries the access token to every route.
    static let accessName = "tb_access"
    /// Carries the refresh token, only to the routes under ``refreshPath``.
    static let refreshName = "tb_refresh"
    static let refreshPath = "/api/auth"

    let settings: HTTPSettings

    func set(access: String, refresh: String, on response: inout Response) {
        let accessAge = Int(settings.signIn.accessLifetime.whole(.seconds))
        let refreshAge = Int(settings.signIn.refreshLifetime.whole(.seconds))
        add(Self.accessName, access, age: accessAge, path: "/", to: &response)
        add(Self.refreshName, refresh, age: refreshAge, path: Self.refreshPath, to: &response)
    }

    func clear(on response: inout Response) {
        add(Self.accessName, "", age: 0, path: "/", to: &response)
        add(Self.refreshName, "", age: 0, path: Self.refreshPath, to: &response)
    }

    private func add(_ name: String, _ value: String, age: Int, path: String, to response: inout Response) {
        response.setCookie(
            Cookie(
                name: name, value: value, maxAge: age, path: path, secure: settings.cookiesAreSecure, httpOnly: true,
                sameSite: .strict))
    }
}
