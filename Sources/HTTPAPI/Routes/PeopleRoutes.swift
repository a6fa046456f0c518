import Domain
import Hummingbird
import Store

/// The people that a caller chooses from: `/api/patients`, `/api/therapists`.
struct PeopleRoutes: Sendable {
    let recorder: AccessRecorder
    let users: UserStore

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/patients", patients)
        table.user(.get, "/api/therapists", therapists)
        table.user(.get, "/api/therapists/:therapist_id/patients", assignments)
    }

    @Sendable private func patients(_ request: Request, _ context: UserContext) async throws -> Response {
        let mayList = Access.hasPatients(context.user.role)
        let (filter, limit) = try await read(
            request, context, .listPatients, if: mayList,
            else: Problem(.forbidden, "Only therapists and administrators have patients."))
        return try page(
            try await users.acting(as: context.claims.principal).patientsToUploadFor(context.user, filter), limit)
    }

    @Sendable private func therapists(_ request: Request, _ context: UserContext) async throws -> Response {
        let mayList = Access.seesTherapists(context.user.role)
        let (filter, limit) = try await read(
            request, context, .listTherapists, if: mayList,
            else: Problem(.forbidden, "Only patients and administrators may list therapists."))
        let users = users.acting(as: context.claims.principal)
        return try page(try await users.therapists(for: context.user, filter), limit)
    }

    @Sendable private func assignments(_ request: Request, _ context: UserContext) async throws -> Response {
        let therapist = try await recorder.administrator(context, to: .listAssignments) {
            try request.uri.queryParameters.allow(only: [])
            return try context.userID("therapist_id")
        }
        guard let found = try await users.acting(as: context.claims.principal).assignments(of: therapist) else {
            throw Problem.noUser
        }
        // Assignments outlast the role of a therapist.
        if found.assignments.isEmpty, !Access.isNamedAsTherapist(found.role) {
            throw Problem.invalid("therapist_id", "is not a therapist.")
        }
        return JSON.response(Items(items: found.assignments))
    }

    /// Reads the parameters of a list, after a caller who may not list is refused, and records the access.
    private func read(
        _ request: Request, _ context: UserContext, _ action: AuditAction, if isAllowed: Bool, else refusal: Problem
    ) async throws -> (UserStore.PeopleFilter, limit: Int) {
        guard isAllowed else {
            try await recorder.admit(context, to: action, if: false, else: refusal)
            throw refusal
        }
        let query = request.uri.queryParameters
        try query.allow(only: ["q", "limit", "cursor"])
        let limit = try query.pageLimit()
        // One item more than the page has shows whether there is a next page.
        var filter = UserStore.PeopleFilter(limit: limit + 1)
        filter.text = try query.searchText()
        filter.after = try query.cursor { UserID($0) }
        try await recorder.admit(context, to: action)
        return (filter, limit)
    }

    /// A page of people.
    ///
    /// - Throws: 422 if the person of the cursor is gone.
    private func page(_ found: [User]?, _ limit: Int) throws -> Response {
        guard let found else { throw Problem.unknownCursor }
        return JSON.response(Page(found, limit: limit) { $0.id.description })
    }
}
