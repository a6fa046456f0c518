import DequeModule
public import Domain
import Polling
import Store

extension ProgressHub {
    /// Begins to watch a session.
    ///
    /// The watcher is registered before its snapshot is read, so that a change between the two is not missed. All who come
    /// while a statement is under way share the next one.
    ///
    /// - Parameters:
    ///   - after: Also returns the transitions after this version.
    ///   - requestID: The request behind it, for the audit log.
    /// - Throws: `PostgresError` when the database cannot say.
    public func open(
        _ session: SessionID, for principal: Principal, after: Int64? = nil, requestID: String? = nil
    ) async throws -> WatchOpening {
        guard !isClosed, openings.count < Self.openingLimit else {
            metrics.turnedAway()
            return .turnedAway(turningAway)
        }
        let watcher = machine.register(session, for: principal)
        return try await withCheckedThrowingContinuation { continuation in
            openings.append(
                PendingOpening(
                    request: OpeningRequest(
                        session, for: principal, after: after, action: after == nil ? .openStream : .resumeStream,
                        requestID: requestID),
                    watcher: watcher, continuation: continuation))
            pumpOpenings()
        }
    }

    func pumpOpenings() {
        while openingsUnderWay < Self.openingStatements, !openings.isEmpty {
            let batch = Array(openings.prefix(Self.openingBatch))
            openings.removeFirst(batch.count)
            if openings.isEmpty { openings = [] }
            guard case .terminated = work.continuation.yield(.openings(batch)) else {
                openingsUnderWay += 1
                continue
            }
            // The hub stops, and nobody makes reads any more.
            for opening in batch { turnAway(opening) }
        }
    }

    func completed(_ pending: [PendingOpening], _ answers: [SessionOpening]) {
        openingsUnderWay -= 1
        for (opening, answer) in zip(pending, answers) { complete(opening, answer) }
        pumpOpenings()
        pump()
    }

    private func complete(_ opening: PendingOpening, _ answer: SessionOpening) {
        guard answer.permits(.see) else {
            machine.release(opening.watcher)
            return opening.continuation.resume(returning: .refused(answer.verdict))
        }
        guard let progress = answer.progress else {
            machine.release(opening.watcher)
            return opening.continuation.resume(throwing: UnreadableProgress())
        }
        guard !isClosed else { return turnAway(opening) }
        guard !progress.status.isFinished else {
            machine.release(opening.watcher)
            return opening.continuation.resume(returning: .opened(answer, nil))
        }
        switch machine.begin(opening.watcher, at: progress.version, epoch: answer.rightsEpoch) {
        case .turnedAway: turnAway(opening)
        case .begun(let pauses):
            if pauses { readAfterPause([progress.sessionID]) }
            opening.continuation.resume(returning: .opened(answer, Watch(watcher: opening.watcher, hub: self)))
        }
    }

    func turnAway(_ opening: PendingOpening) {
        metrics.turnedAway()
        machine.release(opening.watcher)
        opening.continuation.resume(returning: .turnedAway(turningAway))
    }

    /// Watches a session from within the program: the state as it stands, then each that is newer; it ends when the session
    /// is deleted or the server stops.
    ///
    /// A slow reader gets the newest state alone.
    public func states(of session: SessionID) -> AsyncStream<SessionProgress> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: SessionProgress.self, bufferingPolicy: .bufferingNewest(1))
        guard !isClosed else {
            continuation.finish()
            return stream
        }
        let listener = machine.listen(to: session)
        listeners[listener] = continuation
        continuation.onTermination = { [poller] _ in
            poller.execute { self.assumeIsolated { $0.forgetListener(listener) } }
        }
        pump()
        return stream
    }

    private func forgetListener(_ listener: WatcherID) {
        listeners[listener] = nil
        machine.release(listener)
    }
}
