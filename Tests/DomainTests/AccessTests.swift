import Domain
import Testing

/// The rule of docs/http-api.md, "Rights", written by hand.
///
/// "Its patient; a therapist actively assigned to that patient; an admin. A pipeline account sees none: it reports",
/// and the column "who" of its table of routes.
@Suite struct AccessTests {
    /// A role and a relation, with the permitted actions.
    struct Line: Sendable {
        let role: Role
        let isPatient: Bool
        let isAssigned: Bool
        let permitted: Set<SessionAction>

        init(_ role: Role, patient: Bool, assigned: Bool, _ permitted: Set<SessionAction>) {
            self.role = role
            isPatient = patient
            isAssigned = assigned
            self.permitted = permitted
        }
    }

    static let table: [Line] = [
        Line(.patient, patient: true, assigned: false, [.see, .hear, .upload]),
        Line(.patient, patient: false, assigned: false, []),
        // The database refuses this assignment, and it gives no right either.
        Line(.patient, patient: true, assigned: true, [.see, .hear, .upload]),
        Line(.patient, patient: false, assigned: true, []),
        Line(.therapist, patient: false, assigned: true, [.see, .hear, .readNotes, .upload, .manage]),
        Line(.therapist, patient: false, assigned: false, []),
        Line(.therapist, patient: true, assigned: true, [.see, .hear, .readNotes, .upload, .manage]),
        Line(.therapist, patient: true, assigned: false, []),
        Line(
            .admin, patient: false, assigned: false, [.see, .hear, .readNotes, .readFailure, .upload, .manage, .report]),
        Line(
            .admin, patient: true, assigned: false, [.see, .hear, .readNotes, .readFailure, .upload, .manage, .report]),
        Line(
            .admin, patient: false, assigned: true, [.see, .hear, .readNotes, .readFailure, .upload, .manage, .report]),
        Line(
            .admin, patient: true, assigned: true, [.see, .hear, .readNotes, .readFailure, .upload, .manage, .report]),
        Line(.pipeline, patient: false, assigned: false, [.report, .process]),
        Line(.pipeline, patient: true, assigned: false, [.report, .process]),
        Line(.pipeline, patient: false, assigned: true, [.report, .process]),
        Line(.pipeline, patient: true, assigned: true, [.report, .process]),
    ]

    @Test("The access rule is that of the documentation, for each role, relation and action", arguments: table)
    func rule(_ line: Line) {
        let relation = Relation(isPatient: line.isPatient, isAssigned: line.isAssigned)
        for action in SessionAction.allCases {
            #expect(
                Access.permits(action, to: line.role, as: relation) == line.permitted.contains(action),
                "\(line.role) as \(relation): \(action)")
        }
    }

    @Test("Administrators alone may do administrative actions", arguments: Role.allCases)
    func administration(_ role: Role) {
        for action in AdministrativeAction.allCases {
            #expect(Access.permits(action, to: role) == (role == .admin), "\(action)")
        }
    }

    @Test("An action of the audit log needs a right to a session, an administrative right, or neither")
    func needs() {
        let both = AuditAction.allCases.filter { $0.need != nil && $0.administrativeNeed != nil }
        #expect(both == [])
        #expect(Set(AuditAction.allCases.compactMap(\.administrativeNeed)) == Set(AdministrativeAction.allCases))
    }

    @Test("The table of this test has every role and relation")
    func tableIsWhole() {
        let lines = Set(Self.table.map { "\($0.role) \($0.isPatient) \($0.isAssigned)" })
        #expect(lines.count == Role.allCases.count * 4)
        #expect(Self.table.count == lines.count)
    }
}
