import Domain
import Store

/// Records in the audit log what is done with no session, or with one that is only just to be, before it is done.
///
/// What is done with a session that there is goes through the ``SessionGate``.
struct AccessRecorder: Sendable {
    let log: AuditStore

    /// Lets those go on who may, and refuses the others.
    ///
    /// Without a `session` or a `patient` the action is about none of them.
    ///
    /// - Throws: `refusal` unless `isAllowed`, once it is recorded; the error of the database when it could not be.
    func admit(
        _ context: UserContext, to action: AuditAction, if isAllowed: Bool = true, session: SessionID? = nil,
        patient: UserID? = nil, else refusal: @autoclosure () -> Problem = .forbidden
    ) async throws {
        try await log.record(
            action, isAllowed: isAllowed, by: context.claims.principal, session: session, patient: patient,
            requestID: context.requestID)
        guard isAllowed else { throw refusal() }
    }

    /// Lets administrators alone go on.
    func administrator(_ context: UserContext, to action: AuditAction) async throws {
        try await admit(
            context, to: action, if: context.user.role == .admin,
            else: Problem(.forbidden, "Only an administrator may do this."))
    }

    /// Lets administrators alone go on with a change that the database records itself.
    func administrator(_ context: UserContext, toChange action: AuditAction) async throws {
        guard context.user.role != .admin else { return }
        try await administrator(context, to: action)
    }
}
