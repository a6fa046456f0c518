// An example in Swift of docs/swift-client.md, from the imports on. A test compares both.

import Foundation
import TherapyBridgeClient

func uploadAndWatch(
    _ file: URL, of patient: String, at server: String, email: String, password: String,
    show: @escaping @Sendable (String) -> Void
) async throws {
    try await TherapyBridge.withClient(of: server) { bridge in
        try await bridge.signIn(email: email, password: password)
        let recording = Recording(file: file, patient: patient)
        let session = try await bridge.upload(recording) { sent, total in show("uploaded \(100 * sent / total) %") }
        for try await progress in bridge.progress(of: session.id) {
            show("\(progress.status.rawValue) \(progress.progress) %")
        }
    }
}
