import AsyncHTTPClient
import NIOHTTP1

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension Watcher {
    /// One poll, after the pause between two of them.
    func poll() async throws {
        let isFirst = !hasPolled
        if hasPolled {
            try await client.options.clock.sleep(for: client.options.pollInterval * Double.random(in: 0.75...1.25))
        }
        usedToken = await client.credentials.access
        hasPolled = false  // A failure waits by the back-off.
        if let session { try await poll(session) } else { try await pollAll(isFirst: isFirst) }
        hasPolled = true
    }

    private func poll(_ session: String) async throws {
        guard let answer = try await answer("/api/sessions/\(session)/status", tag: entityTag) else {
            return machine.unchanged()
        }
        machine.polled()
        let status = (try? answer.decoded(SessionProgress.self))?.status
        // The name says that the session is finished, as in the stream.
        let result = machine.receive(
            EventParser.Event(
                name: status?.event ?? "progress", id: nil, data: String(decoding: answer.body, as: UTF8.self)))
        items += result.items
        outcome = result.outcome
        entityTag = answer.response.headers.first(name: "ETag")
    }

    private func pollAll(isFirst: Bool) async throws {
        var reading = PolledList.Reading()
        while let path = reading.path {
            let known = list.page(at: path)
            let answer = try await answer(path, tag: known?.tag)
            if let page = try answer.map({ try page($0, at: path) }) ?? known { reading.take(page) }
        }
        for id in list.vanished(from: reading) {
            reading.last.append((id, try await lastState(of: id)))
        }
        let (changes, isIncomplete) = list.update(with: reading, isFirst: isFirst)
        machine.polled()
        for change in changes {
            switch change {
            case .state(let progress, let event): items += machine.receive(progress, as: event).items
            case .removed(let id): items.append(machine.removed(id))
            }
        }
        items += machine.settled()
        if isFirst || isIncomplete { items.append(.ready) }
    }

    /// The answer to a GET, or nil for 304.
    ///
    /// - Throws: ``APIError`` for every other status.
    private func answer(_ path: String, tag: String?) async throws -> TherapyBridge.Answer? {
        let answer = try await client.send(.GET, path, headers: tag.map { [("If-None-Match", $0)] } ?? [])
        return answer.response.status == .notModified ? nil : try answer.checked()
    }

    private func page(_ answer: TherapyBridge.Answer, at path: String) throws -> PolledList.Page {
        do {
            return try PolledList.Page(
                path: path, tag: answer.response.headers.first(name: "ETag"), body: answer.body)
        } catch {
            // Something between us and the server, such as the sign-in of a WiFi, answers in its place.
            throw APIError.unreachable
        }
    }

    /// The progress of a session that has left the list, or nil if the caller sees it no more.
    private func lastState(of id: String) async throws -> SessionProgress? {
        do {
            guard let answer = try await answer("/api/sessions/\(id)/status", tag: nil) else { return nil }
            return try answer.decoded(SessionProgress.self)
        } catch let error as APIError {
            if error.status == 404 || (error.status == 403 && !error.isOfInactiveAccount) { return nil }
            throw error
        } catch is DecodingError {
            throw APIError.unreachable
        }
    }
}
