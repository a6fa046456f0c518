import Credentials
import Logging
import Recordings
import SettingsReading
import Synchronization

/// The parts of the server that take new keys while it runs.
final class ReloadableParts: Sendable {
    private let parts = Mutex<(tokens: AccessTokens?, provider: IdentityProvider?)>((nil, nil))

    var present: (tokens: AccessTokens?, provider: IdentityProvider?) { parts.withLock(\.self) }

    func set(tokens: AccessTokens, provider: IdentityProvider?) { parts.withLock { $0 = (tokens, provider) } }
}

/// What SIGHUP does: reads the level of the log and the files of keys again.
///
/// The environment of a process does not change while it runs. Therefore only what stands in files can.
struct Reloading: Sendable {
    let settings: Settings
    let parts: ReloadableParts
    let logger: Logger

    /// Reads everything again.
    ///
    /// What cannot be read stays as it is, and the log says why.
    func run() async {
        let (tokens, provider) = parts.present
        await reread("LOG_LEVEL_FILE") {
            guard let file = try LogSettings(SettingsReader()).file else { return false }
            LogOutput.setLevel(try LogSettings.level(in: file))
            return true
        }
        await reread("JWT_SECRET_FILE") { try await tokens?.rereadKey(settings.tokens) ?? false }
        await reread("JWT_JWKS_FILE") {
            guard let provider, let source = settings.identityProvider else { return false }
            try await source.rereadKeys(of: provider)
            return true
        }
        await reread("UPLOAD_KEY_FILE") { try settings.recordings.rereadKeys(SettingsReader()) }
    }

    private func reread(_ name: String, _ body: () async throws -> Bool) async {
        do {
            guard try await body() else { return }
            logger.notice("read again", metadata: ["setting": "\(name)"])
        } catch {
            logger.error("not read again, and unchanged", metadata: ["setting": "\(name)", "reason": "\(error)"])
        }
    }
}
