import HTTPTypes
import Hummingbird

/// A language of the page.
enum PageLanguage: String, CaseIterable, Sendable {
    case english = "en"
    case german = "de"
    case french = "fr"

    /// The cookie in which the page keeps the choice of its user.
    static let cookie = "tb_language"

    /// The language for a request: the one that its user has chosen, or else the first one that the browser asks for.
    init(of request: Request) {
        if let chosen = request.cookies[Self.cookie].flatMap({ Self(rawValue: $0.value) }) {
            self = chosen
        } else {
            self.init(accepted: request.headers[.acceptLanguage] ?? "")
        }
    }

    /// The best language of an `Accept-Language` (RFC 9110, 12.5.4); English if it names none of ours.
    init(accepted header: String) {
        var best: (language: Self, quality: Double)?
        for range in header.split(separator: ",").prefix(30) {
            let parameters = HeaderParameters(String(range))
            let quality = parameters["q"].map { Double($0) ?? 0 } ?? 1
            let tag = parameters.value.prefix { $0 != "-" }
            guard let language = Self(rawValue: String(tag)), quality > best?.quality ?? 0 else { continue }
            best = (language, quality)
        }
        self = best?.language ?? .english
    }
}
