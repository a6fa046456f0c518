import Domain
import Store

/// Records actions in the audit log before they happen, if they concern no existing session.
///
/// The ``SessionGate`` records actions on a session that exists.
struct AccessRecorder: Sendable {
    let log: AuditStore

    /// Records an action, and refuses a caller that has no right to it.
    ///
    /// An action without a `session` or a `patient` concerns neither.
    ///
    /// - Throws: `refusal` after the record, unless `isAllowed`; the error of the database if it cannot write the
    ///   record.
    func admit(
        _ context: UserContext, to action: AuditAction, if isAllowed: Bool = true, session: SessionID? = nil,
        patient: UserID? = nil, else refusal: @autoclosure () -> Problem = .forbidden
    ) async throws {
        try await log.record(
            AuditedAccess(
                action, by: context.claims.principal, session: session, patient: patient, from: context.network),
            isAllowed: isAllowed, requestID: context.requestID)
        guard isAllowed else { throw refusal() }
    }

    /// Lets only administrators do an action, and records it.
    ///
    /// - Parameters:
    ///   - context: The request's context.
    ///   - action: The action.
    ///   - read: Reads the request. If it throws, only a refusal is recorded: the action does not happen.
    /// - Returns: What `read` returns.
    /// - Throws: 403 for every other caller; what `read` throws; the error of the database if it cannot write the record.
    func administrator<Value>(
        _ context: UserContext, to action: AuditAction, reading read: () throws -> Value
    ) async throws -> Value {
        try await administrator(context, toChange: action)
        let value = try read()
        try await admit(context, to: action)
        return value
    }

    /// Lets only administrators do an action, and records it.
    func administrator(_ context: UserContext, to action: AuditAction) async throws {
        try await administrator(context, to: action) {}
    }

    /// Lets only administrators make a change that the database records by itself.
    func administrator(_ context: UserContext, toChange action: AuditAction) async throws {
        let isAllowed = action.administrativeNeed.map { Access.permits($0, to: context.user.role) } ?? false
        if !isAllowed { try await refuse(context, action) }
    }

    /// Records that a caller is no administrator, and refuses the action.
    func refuse(_ context: UserContext, _ action: AuditAction) async throws -> Never {
        let refusal = Problem(.forbidden, "Only an administrator may do this.")
        try await admit(context, to: action, if: false, else: refusal)
        throw refusal
    }
}
