import Domain
import Store

/// The account of a patient and its assignments, as an export has them.
struct ExportedPatient: Encodable {
    private let record: UserRecord
    private let assignments: [Assignment]

    init(_ record: UserRecord, _ assignments: [PatientAssignment]) {
        self.record = record
        self.assignments = assignments.map(Assignment.init)
    }

    private enum CodingKeys: String, CodingKey { case assignments }

    func encode(to encoder: any Encoder) throws {
        try record.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(assignments, forKey: .assignments)
    }

    private struct Assignment: Encodable {
        private let assignment: PatientAssignment

        init(_ assignment: PatientAssignment) { self.assignment = assignment }

        private enum CodingKeys: String, CodingKey {
            case therapist = "therapist_id"
            case therapistName = "therapist_name"
            case isActive = "is_active"
            case startedAt = "started_at"
            case endedAt = "ended_at"
        }

        /// A value that is not known is null, and not missing.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(assignment.therapist, forKey: .therapist)
            try container.encode(assignment.therapistName, forKey: .therapistName)
            try container.encode(assignment.isActive, forKey: .isActive)
            try container.encode(assignment.startedAt, forKey: .startedAt)
            try container.encode(assignment.endedAt, forKey: .endedAt)
        }
    }
}

/// A sign-in of a patient, as an export has it.
struct ExportedSignIn: Encodable {
    private let record: SignInRecord

    init(_ record: SignInRecord) { self.record = record }

    private enum CodingKeys: String, CodingKey {
        case id, address
        case createdAt = "created_at"
        case lastUsedAt = "last_used_at"
        case userAgent = "user_agent"
    }

    /// A value that is not known is null, and not missing.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(record.id, forKey: .id)
        try container.encode(record.createdAt, forKey: .createdAt)
        try container.encode(record.lastUsedAt, forKey: .lastUsedAt)
        try container.encode(record.userAgent, forKey: .userAgent)
        try container.encode(record.address, forKey: .address)
    }
}
