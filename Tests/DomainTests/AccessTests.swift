import Domain
import Testing

/// The rule of docs/http-api.md, "Rights", written out once more by hand.
///
/// "Its patient; a therapist actively assigned to that patient; an admin. A pipeline account sees none: it reports", and the
/// column "who" of its table of routes.
@Suite("The rule of access")
struct AccessTests {
    /// One line: who, and how that user stands to the session, with the actions that are permitted.
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
        // Cannot come from the database, and gives nothing either.
        Line(.patient, patient: true, assigned: true, [.see, .hear, .upload]),
        Line(.patient, patient: false, assigned: true, []),
        Line(.therapist, patient: false, assigned: true, [.see, .hear, .readNotes, .upload, .manage]),
        Line(.therapist, patient: false, assigned: false, []),
        Line(.therapist, patient: true, assigned: true, [.see, .hear, .readNotes, .upload, .manage]),
        Line(.therapist, patient: true, assigned: false, []),
        Line(.admin, patient: false, assigned: false, [.see, .hear, .readNotes, .upload, .manage, .report]),
        Line(.admin, patient: true, assigned: false, [.see, .hear, .readNotes, .upload, .manage, .report]),
        Line(.admin, patient: false, assigned: true, [.see, .hear, .readNotes, .upload, .manage, .report]),
        Line(.admin, patient: true, assigned: true, [.see, .hear, .readNotes, .upload, .manage, .report]),
        Line(.pipeline, patient: false, assigned: false, [.hear, .report]),
        Line(.pipeline, patient: true, assigned: false, [.hear, .report]),
        Line(.pipeline, patient: false, assigned: true, [.hear, .report]),
        Line(.pipeline, patient: true, assigned: true, [.hear, .report]),
    ]

    @Test("is that of the documentation, for each role, relation and action", arguments: table)
    func rule(_ line: Line) {
        let relation = Relation(isPatient: line.isPatient, isAssigned: line.isAssigned)
        for action in SessionAction.allCases {
            #expect(
                Access.permits(action, to: line.role, as: relation) == line.permitted.contains(action),
                "\(line.role) as \(relation): \(action)")
        }
    }

    @Test("is told for each role and relation here")
    func tableIsWhole() {
        let lines = Set(Self.table.map { "\($0.role) \($0.isPatient) \($0.isAssigned)" })
        #expect(lines.count == Role.allCases.count * 4)
        #expect(Self.table.count == lines.count)
    }
}
