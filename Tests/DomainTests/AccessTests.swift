import Domain
import Foundation
import TestSupport
import Testing

/// The rule of docs/http-api.md, "Rights", written by hand.
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
        Line(.patient, patient: true, assigned: false, [.see, .hear, .upload, .export]),
        Line(.patient, patient: false, assigned: false, []),
        // The database refuses this assignment, and it gives no right either.
        Line(.patient, patient: true, assigned: true, [.see, .hear, .upload, .export]),
        Line(.patient, patient: false, assigned: true, []),
        Line(.therapist, patient: false, assigned: true, [.see, .hear, .readNotes, .correct, .upload, .manage]),
        Line(.therapist, patient: false, assigned: false, []),
        Line(.therapist, patient: true, assigned: true, [.see, .hear, .readNotes, .correct, .upload, .manage]),
        Line(.therapist, patient: true, assigned: false, []),
        Line(
            .admin, patient: false, assigned: false,
            [.see, .hear, .readNotes, .correct, .readFailure, .upload, .manage, .report, .export]),
        Line(
            .admin, patient: true, assigned: false,
            [.see, .hear, .readNotes, .correct, .readFailure, .upload, .manage, .report, .export]),
        Line(
            .admin, patient: false, assigned: true,
            [.see, .hear, .readNotes, .correct, .readFailure, .upload, .manage, .report, .export]),
        Line(
            .admin, patient: true, assigned: true,
            [.see, .hear, .readNotes, .correct, .readFailure, .upload, .manage, .report, .export]),
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

    @Test("Only the rule, and the code that pairs a therapist with a patient, compare roles")
    func comparisons() throws {
        let comparison =
            #/[rR]ole\)? *[!=]=|[!=]= *\.(?:therapist|patient|admin|pipeline)|contains\([a-z.]*[rR]ole\)|case \.(?:therapist|admin|pipeline)/#
        let sources = packageRoot.appending(path: "Sources")
        let files = try FileManager.default.subpathsOfDirectory(atPath: sources.path)
            .filter { $0.hasSuffix(".swift") && !$0.hasPrefix("Tools/") }
        #expect(files.count > 150, "the test has not tested anything")
        let comparing = try files.filter { path in
            try String(contentsOf: sources.appending(path: path), encoding: .utf8).split(separator: "\n").contains {
                line in
                !line.drop { $0 == " " }.hasPrefix("//") && line.firstMatch(of: comparison) != nil
            }
        }
        // The two others check whether accounts are of the kinds that an assignment pairs.
        #expect(Set(comparing) == ["Domain/Access.swift", "App/Operations.swift", "HTTPAPI/Routes/UserRoutes.swift"])
    }

    @Test("Therapists and administrators have patients, and a session names only a therapist")
    func patients() {
        #expect(Role.allCases.filter(Access.hasPatients) == [.therapist, .admin])
        #expect(Role.allCases.filter(Access.isNamedAsTherapist) == [.therapist])
        #expect(Role.allCases.filter { Access.permitsOnAll(.process, to: $0) } == [.pipeline])
        #expect(Role.allCases.filter { Access.permitsOnAll(.see, to: $0) } == [.admin])
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
