import Credentials
import HTTPAPI
import Logging

/// Logs a warning for each setting that works and is not safe.
enum SettingsWarnings {
    /// Logs the warnings.
    ///
    /// - Parameters:
    ///   - settings: The settings of the process.
    ///   - serves: True if the process serves HTTP.
    ///   - logger: Receives one line for each warning. No line holds a secret.
    static func log(_ settings: Settings, serves: Bool, to logger: Logger) {
        if settings.tokens.hasTrivialSecret {
            logger.warning(
                "the key of the access tokens is easy to guess: anyone who guesses it can sign in as any user",
                metadata: ["remedy": "set JWT_SECRET to the output of: openssl rand -base64 48"])
        }
        if serves, settings.http.isPlainOnNetwork {
            logger.warning(
                "browsers reach this server by plain http: passwords, tokens and progress cross the network unencrypted",
                metadata: ["remedy": "put a proxy with TLS in front, and set PUBLIC_URL to its https address"])
        }
    }
}
