// The example in Swift of docs/clients.md, from the import on. A test compares both.

import TherapyBridgeClient

func showProgress(
    at server: String, email: String, password: String, session: String, show: (String) -> Void
) async throws {
    try await TherapyBridge.withClient(of: server) { bridge in
        try await bridge.signIn(email: email, password: password)
        do {
            for try await progress in bridge.progress(of: session) {
                let bar = String(repeating: "#", count: progress.progress / 2)
                show("\(bar) \(progress.progress) % \(progress.message ?? progress.status.rawValue)")
            }
        } catch let end as WatchEnded {
            show("Stopped: \(end.reason.rawValue)")
        }
    }
}
