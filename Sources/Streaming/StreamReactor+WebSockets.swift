import Glibc

/// The client's side of WebSockets: what it says, and what it is answered.
extension StreamReactor {
    /// How many of the open streams are WebSockets.
    public var webSocketCount: Int { conversations.count }

    /// Whether a stream is a WebSocket; false for one that is over.
    public func isWebSocket(_ id: StreamID) -> Bool { slot(of: id).map { slots[$0].wire == .webSocket } ?? false }

    /// Reads what the client of a WebSocket says, and answers.
    ///
    /// - Returns: False when the stream is over.
    func readClient(at slot: Int) -> Bool {
        let now = now()
        let (answer, end) = receive(slot, now: now)
        if let answer { return give(answer, at: slot, now: now) }
        guard let end else { return true }
        closeAndTell(slot, slots[slot].phase == .lingering ? reasonOfEnd(slot) : end)
        return false
    }

    /// Reads what is there to be read.
    ///
    /// - Returns: What is to be answered, or why the stream is over.
    private func receive(_ slot: Int, now: Tick) -> (WebSocketConversation.Answer?, StreamEnd?) {
        let (descriptor, phase) = (slots[slot].descriptor, slots[slot].phase)
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 4096) { scratch in
            var answer: WebSocketConversation.Answer?
            // A client that sends without end gets its turn like the others.
            for _ in 0..<16 {
                let count = unsafe recv(descriptor, scratch.baseAddress, scratch.count, CInt(MSG_DONTWAIT))
                if count == 0 { return (nil, .clientClosed) }
                if count < 0 { return errno == EAGAIN || errno == EINTR ? (answer, nil) : (nil, .broken) }
                let bytes = unsafe UnsafeBufferPointer(rebasing: scratch[..<count])
                let received = unsafe conversations[UInt32(slot)]?
                    .receive(bytes.span, at: now, isOpen: phase == .open)
                // The end is written, and a moment is left to read it: until then everything else is dropped.
                if let received, phase != .lingering || received.isClose { answer = received }
                if let received, received.isLast, phase != .lingering || received.isClose { break }
            }
            return (answer, nil)
        }
    }

    /// Answers, as far as the client is still to have an answer.
    ///
    /// - Returns: False when the stream is over.
    private func give(_ answer: WebSocketConversation.Answer, at slot: Int, now: Tick) -> Bool {
        switch (answer, slots[slot].phase) {
        case (.pong(let payload), .open):
            conversations[UInt32(slot)]?.pong = Frame(webSocketFrames: WebSocketFrame.pong(payload))
            if slots[slot].isBlocked { return true }
            if sendPong(slot, now: now) { return true }
            guard slots[slot].phase != .free else { return false }
            delegate?.streamFilled(id(at: slot))
            return true
        case (.close(let code), .open):
            return leave(slot, with: Frame(webSocketFrames: WebSocketFrame.close(echoing: code)))
        case (.close, .lingering):
            // RFC 6455, 7.1.1: once both sides have said their last, the server closes first, by "shutdown() with SHUT_WR".
            shutdown(slots[slot].descriptor, CInt(SHUT_WR))
            return true
        case (.violation(let close), .open) where !slots[slot].isBlocked:
            return leave(slot, with: Frame(webSocketFrames: WebSocketFrame.close(close)))
        case (.violation, .open), (.violation, .ending):
            // There is no room to say so.
            closeAndTell(slot, slots[slot].phase == .open ? .violation : reasonOfEnd(slot))
            return false
        case (.pong, _), (.close, _), (.violation, _): return true
        }
    }

    /// Ends a stream on the client's account.
    ///
    /// - Returns: False when it is over already.
    private func leave(_ slot: Int, with frame: Frame) -> Bool {
        let id = id(at: slot)
        // First of all, so that nobody gives the slot away before it is free.
        delegate?.streamLeaving(id)
        end(id, with: frame, beginsNoOther: true)
        return self.slot(of: id) != nil
    }

    /// Sends the pong that is due.
    ///
    /// - Returns: False when it was not sent whole; the stream has no room then, or is over.
    private func sendPong(_ slot: Int, now: Tick) -> Bool {
        guard let pong = conversations[UInt32(slot)]?.pong.take() else { return true }
        switch start(pong, at: slot, now: now) {
        case .sent: return true
        case .started, .refused: return false
        case .gone:
            closeAndTell(slot, .broken)
            return false
        }
    }

    /// There is room again: the client's last ping is answered, and if it was asked whether it is there, it may not have come
    /// to the question.
    ///
    /// - Returns: False when there is no room any more, or the stream is over.
    func answerAfterWaiting(_ slot: Int, now: Tick) -> Bool {
        conversations[UInt32(slot)]?.isAwaited = false
        return sendPong(slot, now: now)
    }

    /// Asks the client whether it is there; one that did not answer the last time is given up.
    func ping(_ slot: Int, now: Tick) {
        guard conversations[UInt32(slot)]?.isAwaited == false else { return closeAndTell(slot, .stalled) }
        conversations[UInt32(slot)]?.isAwaited = true
        conversations[UInt32(slot)]?.nextPing = now + pingInterval
        metrics.heartbeat()
        switch start(pingFrame, at: slot, now: now) {
        case .sent: break
        case .started, .refused: delegate?.streamFilled(id(at: slot))
        case .gone: closeAndTell(slot, .broken)
        }
    }

    /// Whether the client's last word is still to come.
    func awaitsClose(_ slot: Int) -> Bool { conversations[UInt32(slot)]?.hasClientEnded == false }

    /// Why a stream is over that was ended in order.
    func reasonOfEnd(_ slot: Int) -> StreamEnd { conversations[UInt32(slot)]?.end ?? .ended }
}
