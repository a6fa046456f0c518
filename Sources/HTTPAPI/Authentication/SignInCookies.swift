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

    /// Sets both cookies, for as long as their tokens are good.
    func set(
        access: String, for accessAge: Duration, refresh: String, for refreshAge: Duration, on response: inout Response
    ) {
        add(Self.accessName, access, age: Int(accessAge.whole(.seconds, .up)), path: "/", to: &response)
        add(Self.refreshName, refresh, age: Int(refreshAge.whole(.seconds, .up)), path: Self.refreshPath, to: &response)
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
