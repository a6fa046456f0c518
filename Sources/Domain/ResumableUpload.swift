public import FoundationEssentials

/// The identifier of a ``ResumableUpload``.
public struct UploadID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// An upload that can be resumed, as a value: which bytes are durable, which request writes, and what a request may do.
///
/// Every server reads it from the database under a lock, asks it, and writes it back in the same transaction. All times are those of
/// the database. Nothing here reads a clock.
///
/// A request that writes is a *writer*. It holds the upload by a lease of ``leaseTime``, which its server extends every second. Two
/// things end its hold besides its own end: the lease runs out, because the server died or lost the database; or the connection is
/// silent for ``silence``, and another request comes. A writer that has lost the upload can commit nothing more.
public struct ResumableUpload: Sendable, Equatable {
    /// The state of an upload.
    public enum State: String, Sendable, CaseIterable {
        /// Waits for bytes. Goes on to `complete` and `ended`.
        case open
        /// All bytes have arrived, and the session has its recording. Stays so.
        case complete
        /// Cancelled, expired or refused, or its session failed or is gone. Stays so.
        case ended
    }

    /// A file with some of the bytes.
    public struct Part: Sendable, Hashable {
        /// The name of the file.
        public var name: String
        /// The number of its durable bytes.
        public var byteCount: Int64

        /// A part with its durable bytes.
        public init(name: String, byteCount: Int64) {
            self.name = name
            self.byteCount = byteCount
        }
    }

    /// The hold of a writer.
    public struct Lease: Sendable, Hashable {
        /// The writer: a random id of the request.
        public var writer: UUID
        /// When the lease runs out.
        public var until: Timestamp
        /// When bytes of the writer last arrived.
        public var heardAt: Timestamp

        /// A lease with all its members.
        public init(writer: UUID, until: Timestamp, heardAt: Timestamp) {
            self.writer = writer
            self.until = until
            self.heardAt = heardAt
        }
    }

    /// The answer to a request that wants to write.
    public enum Admission: Sendable, Equatable {
        /// The request is the writer now.
        case admitted
        /// The upload is complete, and has as many bytes as its length.
        case complete
        /// The upload has ended or expired.
        case gone
        /// The upload continues at another offset.
        case wrongOffset(Int64)
        /// Another request writes; the time until it may be taken over from.
        case locked(Duration)
    }

    /// How long a lease lasts after its server last extended it.
    public static let leaseTime = Duration.seconds(3)
    /// For how long the connection of a writer is silent before another request may take over.
    public static let silence = Duration.seconds(5)

    /// The upload.
    public let id: UploadID
    /// The session that the upload brings the recording of.
    public let session: SessionID
    /// The patient of the session.
    public let patient: UserID
    /// The user who began the upload.
    public let user: UserID
    /// The `Upload-Metadata` of the creation, as the client sent it.
    public let metadata: String
    /// The size of the whole recording in bytes.
    public let length: Int64
    /// The state.
    public private(set) var state: State
    /// The number of durable bytes, from the beginning: where the upload continues.
    public private(set) var offset: Int64
    /// The files with these bytes, in their order; empty unless the upload is open.
    public private(set) var parts: [Part]
    /// True once the first bytes have shown that this is a recording.
    public private(set) var isRecognized: Bool
    /// The hold of the present writer; nil without one.
    public private(set) var lease: Lease?
    /// When an open upload ends, and until when a complete one answers.
    public private(set) var expiresAt: Timestamp

    /// An upload with all its members; a new one has only the first.
    public init(
        id: UploadID, session: SessionID, patient: UserID, user: UserID, metadata: String, length: Int64,
        expiresAt: Timestamp, state: State = .open, offset: Int64 = 0, parts: [Part] = [], isRecognized: Bool = false,
        lease: Lease? = nil
    ) {
        self.id = id
        self.session = session
        self.patient = patient
        self.user = user
        self.metadata = metadata
        self.length = length
        self.expiresAt = expiresAt
        self.state = state
        self.offset = offset
        self.parts = parts
        self.isRecognized = isRecognized
        self.lease = lease
    }

    /// The state at a moment: an upload whose time is over has ended, also before a server notes that.
    ///
    /// The lease of a writer keeps an open upload from expiring.
    public func state(at now: Timestamp) -> State {
        switch state {
        case .open: expiresAt <= now && !isHeld(at: now) ? .ended : .open
        case .complete: expiresAt <= now ? .ended : .complete
        case .ended: .ended
        }
    }

    private func isHeld(at now: Timestamp) -> Bool { lease.map { $0.until > now } ?? false }

    /// Lets a request write, if it may.
    ///
    /// - Parameters:
    ///   - writer: A random id of the request.
    ///   - offset: The offset at which it continues.
    ///   - now: The present moment.
    /// - Returns: The answer. Only `admitted` changes the upload.
    public mutating func admit(_ writer: UUID, at offset: Int64, now: Timestamp) -> Admission {
        switch state(at: now) {
        case .ended: return .gone
        case .complete: return offset == length ? .complete : .wrongOffset(length)
        case .open: break
        }
        if let lease, isHeld(at: now) {
            let silentFor = now.duration(since: lease.heardAt)
            if silentFor < Self.silence { return .locked(Self.silence - silentFor) }
        }
        guard offset == self.offset else { return .wrongOffset(self.offset) }
        lease = Lease(writer: writer, until: now.advanced(by: Self.leaseTime), heardAt: now)
        return .admitted
    }

    /// Extends the lease of a writer.
    ///
    /// A writer whose lease has run out gets it back if nobody has taken over.
    ///
    /// - Parameters:
    ///   - writer: The writer.
    ///   - silentFor: For how long no byte has arrived.
    ///   - now: The present moment.
    /// - Returns: False if the writer has lost the upload.
    public mutating func extend(_ writer: UUID, silentFor: Duration, now: Timestamp) -> Bool {
        guard state == .open, lease?.writer == writer else { return false }
        lease = Lease(
            writer: writer, until: now.advanced(by: Self.leaseTime), heardAt: now.advanced(by: .zero - silentFor))
        return true
    }

    /// Records durable bytes of a writer.
    ///
    /// The part is new, has grown, or replaces the last part, whose bytes it begins with. The last byte of the recording does not
    /// count yet: an upload has all its bytes when its session has the recording (``complete(by:now:lifetime:)``).
    ///
    /// - Parameters:
    ///   - part: The part.
    ///   - replaced: The name of the last part, if the new part begins with its bytes.
    ///   - isRecognized: True if the bytes so far have shown that this is a recording.
    ///   - writer: The writer.
    ///   - now: The present moment.
    ///   - lifetime: How long an upload is kept after its last byte (`UPLOAD_RESUME_TTL`).
    /// - Returns: False if the writer has lost the upload, or the bytes do not continue it. Nothing is then recorded.
    public mutating func commit(
        _ part: Part, replacing replaced: String?, isRecognized: Bool, by writer: UUID, now: Timestamp,
        lifetime: Duration
    ) -> Bool {
        guard state == .open, lease?.writer == writer else { return false }
        var parts = parts
        if let last = parts.last, last.name == part.name || last.name == replaced { parts.removeLast() }
        guard !parts.contains(where: { $0.name == part.name }) else { return false }
        let earlier = parts.reduce(0) { $0 + $1.byteCount }
        guard (0...length - earlier).contains(part.byteCount) else { return false }
        let total = min(earlier + part.byteCount, length - 1)
        guard total >= offset else { return false }
        if total > earlier { parts.append(Part(name: part.name, byteCount: total - earlier)) }
        if total > offset { expiresAt = max(expiresAt, now.advanced(by: lifetime)) }
        self.parts = parts
        offset = total
        self.isRecognized = self.isRecognized || isRecognized
        return true
    }

    /// Ends the hold of a writer.
    ///
    /// - Returns: False if the writer has lost the upload.
    @discardableResult
    public mutating func release(_ writer: UUID) -> Bool {
        guard lease?.writer == writer else { return false }
        lease = nil
        return true
    }

    /// Records that the session has its recording.
    ///
    /// - Returns: False if the writer has lost the upload. The recording must then not be attached.
    public mutating func complete(by writer: UUID, now: Timestamp, lifetime: Duration) -> Bool {
        guard state == .open, lease?.writer == writer else { return false }
        state = .complete
        offset = length
        parts = []
        isRecognized = true
        lease = nil
        expiresAt = now.advanced(by: lifetime)
        return true
    }
}
