/// What was measured of another program in the same run.
struct PeerFigure: Sendable, Equatable {
    /// What came of it.
    enum Outcome: Sendable, Equatable {
        case measured(Figure)
        /// Nothing, for this reason.
        case none(String)
    }

    /// What is compared, such as `nchan`.
    var name: String
    var outcome: Outcome

    var figure: Figure? {
        if case .measured(let figure) = outcome { figure } else { nil }
    }
}

/// One row of the table.
struct Finding: Sendable, Equatable {
    /// What came of a measurement.
    enum Outcome: Sendable, Equatable {
        case measured(Figure)
        /// The program that was measured cannot do it, for this reason.
        case notAvailable(String)
        /// It went wrong, in these words.
        case failed(String)
    }

    /// What was measured, with the numbers that it was measured at.
    var what: String
    var outcome: Outcome
    /// Nil when the figure is there for comparison alone.
    var target: Target?
    var peers: [PeerFigure] = []

    init(_ what: String, _ figure: Figure, target: Target? = nil, peers: [PeerFigure] = []) {
        self.init(what, .measured(figure), target: target, peers: peers)
    }

    init(_ what: String, _ outcome: Outcome, target: Target? = nil, peers: [PeerFigure] = []) {
        self.what = what
        self.outcome = outcome
        self.target = target
        self.peers = peers
    }

    /// Whether the target is met; nil when there is no target, or nothing to compare it with.
    var isMet: Bool? {
        guard let target, case .measured(let figure) = outcome else { return nil }
        switch target {
        case .atMost(let limit): return figure.value <= limit
        case .atLeast(let limit): return figure.value >= limit
        case .below(let peer):
            guard let other = peers.first(where: { $0.name == peer })?.figure else { return nil }
            return figure.value < other.value
        }
    }
}
