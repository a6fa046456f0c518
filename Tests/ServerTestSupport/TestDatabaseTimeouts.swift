public import App
import TestSupport

extension DatabaseTimeouts {
    /// Those of a test's server: as long as a busy machine may take.
    public static var forTests: DatabaseTimeouts {
        var timeouts = DatabaseTimeouts()
        timeouts.connect = TestDeadline.event
        timeouts.borrow = TestDeadline.event
        timeouts.query = TestDeadline.event
        return timeouts
    }

    /// Those of the program: where a test takes the database away, it is over sooner with these.
    public static var standard: DatabaseTimeouts { DatabaseTimeouts() }
}
