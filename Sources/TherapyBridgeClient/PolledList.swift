#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The list of unfinished and failed sessions, page by page, each with its entity tag.
///
/// A session that leaves the list is finished or gone, which its own status tells. A value without I/O.
struct PolledList {
    /// What has changed since the last poll.
    enum Change: Hashable {
        case state(SessionProgress, event: String)
        case removed(String)
    }

    /// A page of sessions.
    struct Page: Hashable {
        let path: String
        let tag: String?
        let states: [SessionProgress]
        let next: String?
        /// How many sessions are processed; nil on later pages.
        let processed: Int?
    }

    /// A poll under way.
    struct Reading {
        /// The pages so far.
        fileprivate(set) var pages: [Page] = []
        /// The path of the next page; nil after the last one.
        fileprivate(set) var path: String? = PolledList.path
        /// The statuses of the sessions that have left the list; nil for one that the caller sees no more.
        var last: [(id: String, state: SessionProgress?)] = []

        /// Takes the page at ``path``.
        mutating func take(_ page: Page) {
            pages.append(page)
            path = page.next.map { "\(PolledList.path)&cursor=\($0.percentEncoded)" }
        }
    }

    private static let path =
        "/api/sessions?status=uploading,pending,preprocessing,transcribing,diarizing,transcribed,extracting_notes,failed"
        + "&limit=200"

    private var pages: [String: Page] = [:]
    private var known: [String: SessionStatus] = [:]
    private var processed: Int?

    /// The page of the last poll, or nil.
    func page(at path: String) -> Page? { pages[path] }

    /// The sessions that have left the list.
    func vanished(from reading: Reading) -> [String] {
        let now = Set(reading.pages.flatMap(\.states).map(\.sessionID))
        return known.keys.filter { !now.contains($0) }.sorted()
    }

    /// Takes a poll that is complete.
    ///
    /// - Parameters:
    ///   - reading: The poll.
    ///   - isFirst: True for the first poll of a connection.
    /// - Returns: What has changed, and true if sessions have come and gone between two polls.
    mutating func update(with reading: Reading, isFirst: Bool) -> (changes: [Change], isIncomplete: Bool) {
        // Oldest first, as in a stream.
        let states = reading.pages.flatMap(\.states).reversed()
        var now = Dictionary(states.map { ($0.sessionID, $0.status) }) { $1 }
        var changes = states.map { Change.state($0, event: event(of: $0, isFirst: isFirst)) }
        var finished = 0
        for (id, state) in reading.last {
            guard let state else {
                changes.append(.removed(id))
                continue
            }
            changes.append(.state(state, event: state.status.event))
            // Otherwise it was retried after the list was read.
            if state.status == .processed { finished += 1 } else { now[id] = state.status }
        }
        let total = reading.pages.first?.processed
        let isIncomplete = processed.map { total != $0 + finished } ?? false
        pages = Dictionary(reading.pages.map { ($0.path, $0) }) { $1 }
        known = now
        processed = total
        return (changes, isIncomplete)
    }

    private func event(of state: SessionProgress, isFirst: Bool) -> String {
        let before = known[state.sessionID]
        let isAdded = !isFirst && (before == nil || (before == .failed && state.status != .failed))
        return isAdded ? "session_added" : state.status.event
    }
}

extension PolledList.Page {
    private struct Body: Decodable {
        struct Item: Decodable { let progress: SessionProgress }
        let items: [Item]
        let next_cursor: String?
        let counts: [String: Int]?
    }

    /// Reads an answer.
    ///
    /// - Throws: The decoder's error.
    init(path: String, tag: String?, body: Data) throws {
        let body = try JSONDecoder().decode(Body.self, from: body)
        self.init(
            path: path, tag: tag, states: body.items.map(\.progress), next: body.next_cursor,
            processed: body.counts?["processed"])
    }
}

extension SessionStatus {
    /// The name of the stream's event for this status.
    var event: String { self == .processed ? "complete" : self == .failed ? "error" : "progress" }
}
