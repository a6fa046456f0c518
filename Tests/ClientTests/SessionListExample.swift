// An example in Swift of docs/swift-client.md, from the imports on. A test compares both.

import Foundation
import TherapyBridgeClient

@MainActor final class SessionList {
    private(set) var sessions: [String: SessionProgress] = [:]
    private(set) var isOld = false

    func follow(at server: String, email: String, password: String) async throws {
        struct Page: Decodable, Sendable { let items: [TherapySession] }
        try await TherapyBridge.withClient(of: server) { bridge in
            try await bridge.signIn(email: email, password: password)
            let events = bridge.events { state in
                Task { @MainActor in self.isOld = state == .offline || state == .degraded }
            }
            for try await event in events {
                switch event {
                case .progress(let progress, _): sessions[progress.sessionID] = progress
                case .removed(let id): sessions[id] = nil
                case .ready:
                    // Sessions that finished before did not come.
                    let page = try await bridge.request("GET", "/api/sessions?limit=200", as: Page.self)
                    for session in page.items where (sessions[session.id]?.version ?? 0) < session.progress.version {
                        sessions[session.id] = session.progress
                    }
                }
            }
        }
    }
}
