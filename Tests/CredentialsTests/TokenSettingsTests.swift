import Foundation
import SettingsReading
import Testing

@testable import Credentials

@Suite("Settings of the signing key") struct TokenSettingsTests {
    @Test(
        "A key that is repeated, has few different bytes or is a known example is trivial",
        arguments: [
            String(repeating: "x", count: 32), String(repeating: "ab", count: 20),
            String(repeating: "secret!", count: 6),
            "00000000000000000000000000000001", "0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyzabcdef",
            "change-me-change-me-change-me-now", "CHANGE ME in production, please!!",
            "your-256-bit-secret-goes-in-here",
            "my super secret key for this site", "therapybridge-production-jwt-key-1",
            "correct horse battery password 1",
        ])
    func trivial(secret: String) throws {
        let settings = try TokenSettings(SettingsReader(environment: ["JWT_SECRET": secret]))
        #expect(settings.hasTrivialSecret)
        let previous = try TokenSettings(
            SettingsReader(environment: [
                "JWT_SECRET": Self.good, "JWT_PREVIOUS_SECRETS": secret.replacing(",", with: ""),
            ]))
        #expect(previous.hasTrivialSecret)
    }

    @Test("Random keys of every usual form are not trivial")
    func random() throws {
        #expect(try !TokenSettings(SettingsReader(environment: ["JWT_SECRET": Self.good])).hasTrivialSecret)
        for _ in 0..<1000 {
            let bytes = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
            let hexadecimal = bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
            for secret in [Data(bytes).base64EncodedString(), hexadecimal, String(hexadecimal.prefix(32))] {
                #expect(!SecretStrength.isTrivial(secret), "\(secret)")
            }
        }
    }

    private static let good = "Ew7m+V1zPq4Yc0Jr8nT2sKdG5uXhLbA9"
}
