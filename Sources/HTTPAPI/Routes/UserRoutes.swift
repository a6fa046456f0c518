import Credentials
import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Store

/// The accounts, for administrators: `/api/users`.
struct UserRoutes: Sendable {
    let recorder: AccessRecorder
    let users: UserStore
    let passwords: Passwords

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/users", list)
        table.user(.post, "/api/users", add)
        table.user(.get, "/api/users/:id", user)
        table.user(.patch, "/api/users/:id", change)
    }

    @Sendable private func list(_ request: Request, _ context: UserContext) async throws -> Response {
        let (filter, limit) = try await recorder.administrator(context, to: .listUsers) { try Self.filter(request) }
        guard let found = try await users.acting(as: context.claims.principal).list(filter) else {
            throw Problem.unknownCursor
        }
        return JSON.response(Page(found, limit: limit) { $0.user.id.description })
    }

    private static func filter(_ request: Request) throws -> (UserStore.Filter, limit: Int) {
        let query = request.uri.queryParameters
        try query.allow(only: ["role", "is_active", "q", "limit", "cursor"])
        let limit = try query.pageLimit()
        // One item more than the page has shows whether there is a next page.
        var filter = UserStore.Filter(limit: limit + 1)
        filter.role = try query.value("role", "is not a known role.") { Role(rawValue: $0) }
        filter.isActive = try query.value("is_active", "has to be true or false.") { Bool($0) }
        filter.text = try query.searchText()
        filter.after = try query.cursor { UserID($0) }
        return (filter, limit)
    }

    @Sendable private func user(_ request: Request, _ context: UserContext) async throws -> Response {
        let id = try await recorder.administrator(context, to: .readUser) { try context.userID() }
        guard let record = try await users.acting(as: context.claims.principal).record(of: id) else {
            throw Problem.noUser
        }
        return JSON.response(record)
    }

    @Sendable private func add(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .addUser)
        let body = try await JSON.decode(NewUserBody.self, from: request)
        let hash: String? =
            if let password = body.password { try await passwords.hash(password, for: body.email) } else { nil }
        let users = users.acting(as: context.claims.principal)
        guard
            let id = try await users.add(
                email: body.email, fullName: body.fullName.description, role: body.role, passwordHash: hash)
        else { throw Problem(.conflict, "Another account has this address.") }
        guard let record = try await users.record(of: id) else { throw Problem.noUser }
        return JSON.response(record, status: .created, headers: [.location: "/api/users/\(id)"])
    }

    @Sendable private func change(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .changeUser)
        let id = try context.userID()
        let body = try await JSON.decode(UserChangeBody.self, from: request)
        let users = users.acting(as: context.claims.principal)
        var change = body.change
        if let password = body.password {
            // The rules compare the password with the address.
            guard let record = try await users.record(of: id) else { throw Problem.noUser }
            change.passwordHash = try await passwords.hash(password, for: EmailAddress(record.user.email))
        }
        switch try await users.change(id, change, by: context.user.id) {
        case .changed(let record): return JSON.response(record)
        case .noUser: throw Problem.noUser
        case .notPermitted: try await recorder.refuse(context, .changeUser)
        case .ownAccount:
            throw Problem(.conflict, "Another administrator has to do this: it would lock you out.")
        }
    }
}

/// The assignments of therapists to patients, for administrators:
/// `/api/therapists/{therapist_id}/patients/{patient_id}`.
struct AssignmentRoutes: Sendable {
    let recorder: AccessRecorder
    let users: UserStore

    func add(to table: inout RouteTable) {
        table.user(.put, "/api/therapists/:therapist_id/patients/:patient_id", produces: nil) { _, context in
            try await recorder.administrator(context, toChange: .beginAssignment)
            let (therapist, patient) = try await pair(context)
            try await users.acting(as: context.claims.principal).assign(therapist: therapist, patient: patient)
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
        table.user(.delete, "/api/therapists/:therapist_id/patients/:patient_id", produces: nil) { _, context in
            try await recorder.administrator(context, toChange: .endAssignment)
            let (therapist, patient) = try await pair(context)
            // The call is idempotent: it also succeeds without an assignment.
            _ = try await users.acting(as: context.claims.principal).unassign(therapist: therapist, patient: patient)
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
    }

    /// The therapist and the patient in the path.
    ///
    /// - Throws: 404 for an unknown user, 422 for a user with another role.
    private func pair(_ context: UserContext) async throws -> (therapist: UserID, patient: UserID) {
        let (therapist, patient) = (try context.userID("therapist_id"), try context.userID("patient_id"))
        let roles = try await users.acting(as: context.claims.principal).roles(of: [therapist, patient])
        guard let first = roles[therapist], let second = roles[patient] else { throw Problem.noUser }
        guard first == .therapist else { throw Problem.invalid("therapist_id", "is not a therapist.") }
        guard second == .patient else { throw Problem.invalid("patient_id", "is not a patient.") }
        return (therapist, patient)
    }
}
