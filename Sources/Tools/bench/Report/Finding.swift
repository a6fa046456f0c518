/// The figure of another server in the same run.
struct PeerFigure: Sendable, Equatable {
    /// The outcome of a measurement.
    enum Outcome: Sendable, Equatable {
        case measured(Figure)
        /// No figure, for this reason.
        case none(String)
    }

    /// The name of the peer, such as `nchan`.
    var name: String
    var outcome: Outcome

    var figure: Figure? {
        if case .measured(let figure) = outcome { figure } else { nil }
    }
}

/// A row of the table.
struct Finding: Sendable, Equatable {
    /// The outcome of a measurement.
    enum Outcome: Sendable, Equatable {
        case measured(Figure)
        /// The measured program cannot do it, for this reason.
        case notAvailable(String)
        /// The measurement failed, with this message.
        case failed(String)

        /// The ratio of a value to a peer's figure in the same unit.
        static func comparison(_ value: Double, to peer: PeerFigure) -> Outcome {
            switch peer.outcome {
            case .measured(let theirs): .measured(Figure(value / theirs.value, .times))
            case .none(let reason): .notAvailable("\(peer.name): \(reason)")
            }
        }
    }

    /// What was measured, and under which load.
    var what: String
    var outcome: Outcome
    /// The target, or nil for a figure that is only compared.
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

    /// Whether the target is met; nil without a target or a figure to compare.
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
