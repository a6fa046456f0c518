public import App
import TestSupport

extension DatabaseTimeouts {
    /// The timeouts of a test's server: long enough for a loaded machine.
    public static var forTests: DatabaseTimeouts {
        var timeouts = DatabaseTimeouts()
        timeouts.connect = TestDeadline.event
        timeouts.borrow = TestDeadline.event
        timeouts.query = TestDeadline.event
        return timeouts
    }

    /// The timeouts of the program.
    ///
    /// A test that stops the database gets its errors sooner with these.
    public static var standard: DatabaseTimeouts { DatabaseTimeouts() }
}
