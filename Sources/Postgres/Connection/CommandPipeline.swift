import DequeModule

/// The commands of one connection: those that wait, and the one that is under way.
///
/// It knows the prepared statements, and decides which step is next. It sends nothing.
struct CommandPipeline {
    private var waiting: Deque<Command> = []
    /// The command that is under way.
    private(set) var current: Command?
    private var statements: StatementCache
    private let cachesStatements: Bool

    init(_ configuration: PostgresConfiguration) {
        cachesStatements = configuration.pooler == .off && configuration.statementCacheSize > 0
        statements = StatementCache(capacity: max(1, configuration.statementCacheSize))
    }

    /// Whether no command waits or is under way.
    var isEmpty: Bool { current == nil && waiting.isEmpty }

    mutating func append(_ command: Command) { waiting.append(command) }

    /// Begins the next command.
    ///
    /// None may be under way.
    ///
    /// - Returns: The command's first step; nil if no command waits.
    mutating func startNext() -> StatementPlan.Step? {
        guard var command = waiting.popFirst() else { return nil }
        let name = cachesStatements ? command.key.flatMap { statements.name(for: $0) } : nil
        let isNew = cachesStatements && name == nil && command.key != nil
        let step = command.plan.start(
            command.request,
            prepared: name,
            cachesStatements: cachesStatements,
            newName: isNew ? statements.newName() : "",
            evicted: isNew ? statements.evict() : nil)
        current = command
        return step
    }

    /// Keeps a result of the present step.
    mutating func receive(_ result: PostgresResult) { current?.stepResult = result }

    /// Ends the present step.
    ///
    /// - Parameter isInTransaction: Whether the session is in a transaction, failed or not, after the step.
    /// - Returns: The next step; nil if the command is complete.
    mutating func stepDone(isInTransaction: Bool) -> StatementPlan.Step? {
        guard var command = current else { return nil }
        let error = command.stepResult?.serverFields?.sqlState
        let action = command.plan.stepDone(error: error, isInTransaction: isInTransaction)
        var next: StatementPlan.Step?
        switch action {
        case .send(let step): next = step
        case .remember(let name, let step):
            if let key = command.key { statements.insert(name, for: key) }
            next = step
        case .forget(_, let step):
            if let key = command.key { statements.remove(key) }
            next = step
        case .complete: break
        }
        if next != nil { command.stepResult = nil }
        current = command
        return next
    }

    /// Takes the command that is under way.
    mutating func takeCurrent() -> Command? { current.take() }

    /// Takes a waiting command; nil if it does not wait.
    mutating func takeWaiting(_ ticket: Ticket) -> Command? {
        waiting.firstIndex { $0.ticket === ticket }.map { waiting.remove(at: $0) }
    }

    /// Takes every command, the one that is under way first.
    mutating func takeAll() -> [Command] {
        defer { waiting = [] }
        return [current.take()].compactMap { $0 } + waiting
    }
}
