import Polling

/// Writes to the socket of a stream, and reports each result to the poller and the counters.
struct StreamWriter {
    /// How far a stream came.
    enum Progress {
        /// The stream waits for room, or for its client to read the end.
        case waiting
        /// The stream takes frames again.
        case drained
        /// The connection is broken.
        case broken
    }

    let poller: Poller
    let metrics: StreamMetrics

    /// Begins to write a frame to a stream that has none unfinished.
    ///
    /// - Returns: `gone` if the connection is broken. The caller then closes the stream.
    func write(_ frame: Frame, to stream: inout StreamSlot, now: Tick) -> SendOutcome {
        settle(stream.output.write(frame, now: now), stream.output.descriptor)
    }

    /// Begins to write a frame, unless the socket has no room for any of it.
    ///
    /// - Returns: `refused` if there was no room; `gone` if the connection is broken.
    func writeIfRoom(_ frame: Frame, to stream: inout StreamSlot, now: Tick) -> SendOutcome {
        if let written = stream.output.writeIfRoom(frame, now: now) { return settle(written, stream.output.descriptor) }
        _ = settle(.blocked, stream.output.descriptor)
        return .refused
    }

    /// Records the write of another thread.
    ///
    /// - Parameters:
    ///   - frame: The frame.
    ///   - taken: How many bytes the kernel took; nil if the connection is broken.
    ///   - stream: The stream.
    ///   - now: The present moment.
    /// - Returns: What became of the frame.
    func record(_ frame: Frame, _ taken: Int?, to stream: inout StreamSlot, now: Tick) -> SendOutcome {
        settle(stream.output.take(frame, taken, now: now), stream.output.descriptor)
    }

    private func settle(_ written: StreamOutput.Written, _ descriptor: CInt) -> SendOutcome {
        switch written {
        case .whole:
            metrics.frameSent()
            return .sent
        case .blocked:
            metrics.blocked()
            watch(descriptor, for: [.read, .write])
            return .started
        case .stillBlocked: return .started
        case .broken: return .gone
        }
    }

    private func watch(_ descriptor: CInt, for interest: PollInterest) {
        // It fails only for a descriptor that is not watched. Such a stream ends by its deadline.
        try? poller.setInterest(interest, of: descriptor)
    }

    /// Goes on with a stream as far as its socket has room: the unfinished frame, the last frame, the end.
    ///
    /// - Parameters:
    ///   - stream: The stream.
    ///   - conversation: Its conversation if it is a WebSocket.
    ///   - now: The present moment.
    /// - Returns: How far the stream came.
    func advance(
        _ stream: inout StreamSlot, _ conversation: inout WebSocketConversation?, now: Tick
    ) -> Progress {
        if let written = stream.output.resume(now: now, restartsWait: stream.phase == .open) {
            switch settle(written, stream.output.descriptor) {
            case .sent: break
            case .started, .refused: return .waiting
            case .gone: return .broken
            }
        }
        if stream.phase == .ending {
            return writeLast(&stream, awaitsClose: conversation?.hasClientEnded == false, now: now)
        }
        guard stream.output.isBlocked else { return .waiting }
        stream.output.unblock()
        watch(stream.output.descriptor, for: .read)
        conversation?.becomeWritable()
        guard let pong = conversation?.takePong() else { return .drained }
        switch write(pong, to: &stream, now: now) {
        case .sent: return .drained
        case .started, .refused: return .waiting
        case .gone: return .broken
        }
    }

    private func writeLast(_ stream: inout StreamSlot, awaitsClose: Bool, now: Tick) -> Progress {
        if let last = stream.output.takeLast() {
            switch write(last, to: &stream, now: now) {
            case .sent: break
            case .started, .refused: return .waiting
            case .gone: return .broken
            }
        }
        stream.linger(now: now)
        watch(stream.output.descriptor, for: .read)
        if !awaitsClose { StreamSocket.shutDownSending(stream.output.descriptor) }
        return .waiting
    }
}
