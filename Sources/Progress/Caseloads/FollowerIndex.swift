import Domain
import Store

/// Which followers an answer of the feed concerns.
///
/// The cost of a change depends on the followers that may see it, not on the number of all followers.
struct FollowerIndex {
    /// The followers of each patient's sessions, in the order in which they joined.
    private var byPatient: [UserID: [WatcherID]] = [:]
    /// The followers of all patients' sessions.
    private var ofEverybody: Set<WatcherID> = []
    /// The followers that each answer concerns, because they have something outstanding.
    private var unsettled: Set<WatcherID> = []

    var isEmpty: Bool { byPatient.isEmpty && ofEverybody.isEmpty && unsettled.isEmpty }

    /// The scope or the state of a follower has changed.
    ///
    /// - Parameters:
    ///   - id: The follower.
    ///   - before: Its scope until now; nil if the follower begins.
    ///   - after: Its scope from now on; nil if the follower leaves.
    ///   - isSettled: Whether only changes in its scope concern the follower.
    mutating func update(_ id: WatcherID, from before: CaseloadScope?, to after: CaseloadScope?, isSettled: Bool) {
        if before != after {
            if let before { remove(id, from: before) }
            if let after { add(id, to: after) }
        }
        if isSettled { unsettled.remove(id) } else { unsettled.insert(id) }
    }

    private mutating func add(_ id: WatcherID, to scope: CaseloadScope) {
        switch scope {
        case .everybody: ofEverybody.insert(id)
        case .patients(let patients): for patient in patients { byPatient[patient, default: []].append(id) }
        }
    }

    private mutating func remove(_ id: WatcherID, from scope: CaseloadScope) {
        switch scope {
        case .everybody: ofEverybody.remove(id)
        case .patients(let patients):
            for patient in patients {
                byPatient[patient]?.removeAll { $0 == id }
                if byPatient[patient]?.isEmpty == true { byPatient[patient] = nil }
            }
        }
    }

    /// The followers of one patient's sessions, apart from those of all patients' sessions, and every follower whose scope may
    /// be about to change.
    func followers(ofPatient patient: UserID) -> [WatcherID] {
        let listed = byPatient[patient] ?? []
        return unsettled.isEmpty ? listed : listed + unsettled.subtracting(listed)
    }

    /// The followers that an answer of the feed concerns.
    func concerned(by changes: FeedChanges) -> Set<WatcherID> {
        var concerned = unsettled
        if changes.items.isEmpty && changes.deleted.isEmpty { return concerned }
        concerned.formUnion(ofEverybody)
        for item in changes.items { concerned.formUnion(byPatient[item.patient] ?? []) }
        for (_, patient) in changes.deleted { concerned.formUnion(byPatient[patient] ?? []) }
        return concerned
    }
}
