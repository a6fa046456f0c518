import TestTime
import TherapyBridgeClient

/// Moves the clock of a client through a case that is about silence.
///
/// The clock moves only while the client waits and the server does nothing more. The case therefore has the same course on
/// any machine.
struct CaseClockDriver {
    let time: ManualClock
    let delivered: @Sendable () -> Int
    /// The silence after which the client gives up a connection.
    let watchdog: Duration
    let server: MisbehavingServer
    let run: String

    /// Moves the clock until it is cancelled.
    func drive() async throws {
        // By the number of the connection.
        var silence: [Int: Duration] = [:]
        var beats = 0
        try await TherapyBridge.withClient(of: server.baseURL(run)) { bridge in
            while true {
                try await Task.sleep(for: .milliseconds(5))
                guard let deadline = time.earliestDeadline else { continue }
                let left = deadline - time.now
                let log = try await bridge.request("GET", "/log", as: ServerLog.self)
                // The client may have got something since. It delivers before it waits again: asked in the other order, the wait
                // could be the one that the last state ended, and the move of the clock would count for a wait that begins later.
                guard delivered() >= log.sent, time.earliestDeadline == deadline else { continue }
                let isFull = left == watchdog
                if left < .milliseconds(200) {
                    // A pause before a reconnect or a poll.
                    time.advance(by: left)
                } else if log.hanging > 0, log.hanging == log.last_event_ids.count, isFull,
                    // The last connection has arrived, and says nothing more.
                    silence[log.hanging, default: .zero] + left <= watchdog
                {
                    silence[log.hanging, default: .zero] += left
                    time.advance(by: left)
                } else if log.beats > beats, isFull {
                    beats += 1
                    time.advance(by: watchdog * 0.4)
                    _ = try await bridge.request("POST", "/beat", as: [String: Int].self)
                }
            }
        }
    }
}
