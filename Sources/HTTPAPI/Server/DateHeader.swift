import FoundationEssentials
import Glibc
import Synchronization

/// The value of the header `Date`, made once a second.
final class DateHeader: Sendable {
    private let present = Mutex<(second: Int, text: String)>((.min, ""))

    /// The present date, as an ``HTTPDate``.
    var value: String {
        let second = time(nil)
        return present.withLock { present in
            if present.second != second {
                present = (second, HTTPDate.text(Date(timeIntervalSince1970: Double(second))))
            }
            return present.text
        }
    }
}
