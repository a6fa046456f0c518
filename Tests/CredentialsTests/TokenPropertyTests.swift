import Credentials
import Crypto
import Domain
import Foundation
import PropertySupport
import Testing

/// Any text as a credential.
@Suite("Any token")
struct TokenPropertyTests {
    private let user = UserID.random()
    private let signIn = SignInID.random()

    @Test("A token derived from a good one is never accepted")
    func mutations() async throws {
        let tokens = await AccessTokens(secret: Forge.secret, previousSecrets: ["another secret, of another 32 bytes"])
        let claims = AccessClaims(user: user, signIn: signIn, expiresAt: .now().advanced(by: .seconds(600)))
        let originals = [
            Array(try await tokens.issue(claims).utf8), Array(try Forge(user: user, signIn: signIn).token().utf8),
        ]
        for original in originals { #expect(await tokens.verify(String(decoding: original, as: UTF8.self)) != nil) }
        await holds(forCases: 400) { random in
            let original = random.pick(originals)
            let text = String(decoding: random.mutation(of: original), as: UTF8.self)
            let isTaken = await tokens.verify(text) != nil
            return isTaken && Array(text.utf8) != original ? text : nil
        }
    }

    /// The key may have leaked, or a library may sign what it should not.
    @Test("A well-signed token has a user and has not expired, or is refused")
    func contents() async throws {
        let tokens = await AccessTokens(secret: Forge.secret)
        let forge = Forge(user: user, signIn: signIn)
        let claims = Array(try JSONSerialization.data(withJSONObject: forge.claims))
        let words = [
            "{", "}", "[", "]", ":", ",", "\"aud\"", "\"exp\"", "\"sub\"", "\"nbf\"", "null", "1e999", "-1", "[]",
            "\"\"",
            "9223372036854775807", "0.1", "\"therapybridge\"", "\\u0000", "true",
        ]
        await holds(forCases: 300) { random in
            let payload =
                random.happens(oneIn: 3) ? random.jumble(of: words, count: 0...12) : random.mutation(of: claims)
            let header =
                random.happens(oneIn: 4)
                ? random.mutation(of: Array(#"{"alg":"HS256"}"#.utf8)) : Array(#"{"alg":"HS256"}"#.utf8)
            let text = "\(Forge.base64url(Data(header))).\(Forge.base64url(Data(payload)))"
            let code = HMAC<SHA256>.authenticationCode(
                for: Data(text.utf8), using: SymmetricKey(data: Data(Forge.secret.utf8)))
            guard let found = await tokens.verify("\(text).\(Forge.base64url(Data(code)))") else { return nil }
            let json = try? JSONSerialization.jsonObject(with: Data(payload)) as? [String: Any]
            let isSaid =
                (json?["sub"] as? String).flatMap { UserID($0) } == found.user
                && (json?["sid"] as? String).flatMap { SignInID($0) } == found.signIn
            return isSaid && found.expiresAt > .now() ? nil : String(decoding: payload, as: UTF8.self)
        }
    }

    @Test("A ticket is 43 characters of Base64url, or is refused")
    func tickets() {
        let good = Array(StreamTicket().text.utf8)
        holds(forCases: 300) { random in
            let text = String(decoding: random.mutation(of: good, changes: 0...2), as: UTF8.self)
            let isTicket = text.wholeMatch(of: /[A-Za-z0-9_-]{43}/) != nil
            guard (StreamTicket(text) != nil) == isTicket else { return text }
            return RefreshToken.hash(of: text).count == 32 ? nil : text
        }
    }
}
