import Domain
import Store

/// The account of a patient and its assignments, as an export has them.
struct ExportedPatient: Encodable {
    let record: UserRecord
    let assignments: [PatientAssignment]

    private enum CodingKeys: String, CodingKey { case assignments }

    func encode(to encoder: any Encoder) throws {
        try record.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(assignments, forKey: .assignments)
    }
}
