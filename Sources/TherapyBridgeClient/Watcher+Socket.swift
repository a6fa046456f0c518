import NIOHTTP1

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension Watcher {
    /// Connects by a WebSocket.
    func connectSocket() async throws {
        usedToken = await client.credentials.access
        var path = "\(path)/ws"
        if let id = machine.lastEventID {
            path += "?last_event_id=\(id.percentEncoded)"
        }
        switch try await client.openSocket(path) {
        case .refused(let head):
            // The server completes every handshake. Something between us and it answers in its place.
            outcome =
                head.status.code < 400
                ? .lost() : WatchMachine.Outcome(APIError(status: head.status, headers: head.headers, body: Data()))
        case .line(let line):
            machine.opened()
            socket = line
        }
    }

    /// Reads the next message.
    func read(_ line: SocketLine) async throws {
        do {
            // The server pings less often than the watchdog looks.
            switch try await client.watched(remind: line.ping, { try await line.next() }) {
            case .sign: break
            case .text(let text):
                guard let event = event(text) else { break }
                let result = machine.receive(event)
                items += result.items
                outcome = result.outcome
            case .closed(let code, let reason): outcome = machine.closeFrame(code: code, reason: reason)
            }
        } catch {
            // The connection broke, was silent for too long, or sent what no WebSocket sends.
            line.close()
            try Task.checkCancellation()
            outcome = .lost()
        }
    }

    /// The event in a message; nil if the message is not what it should be.
    private func event(_ text: String) -> EventParser.Event? {
        if session != nil { return EventParser.Event(name: "progress", id: nil, data: text) }
        guard let message = try? JSONDecoder().decode(Message.self, from: Data(text.utf8)),
            let data = try? JSONEncoder().encode(message.data)
        else { return nil }
        return EventParser.Event(name: message.event, id: message.id, data: String(decoding: data, as: UTF8.self))
    }

    /// An event in a WebSocket of all sessions.
    ///
    /// Its name decides later how its data is decoded.
    private struct Message: Decodable {
        let event: String
        let id: String?
        let data: [String: JSONValue]
    }
}
