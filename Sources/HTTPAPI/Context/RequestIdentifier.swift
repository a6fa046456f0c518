import Domain
import Foundation

/// Makes the identifiers of requests: random UUIDs (RFC 9562, 5.4) in lower case.
enum RequestIdentifier {
    /// A new identifier.
    static func random() -> String { UUID().lowerCaseText }
}
