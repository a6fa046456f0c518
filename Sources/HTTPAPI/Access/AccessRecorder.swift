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
            action, isAllowed: isAllowed, by: context.claims.principal, session: session, patient: patient,
            requestID: context.requestID)
        guard isAllowed else { throw refusal() }
    }

    /// Lets only administrators do an action.
    func administrator(_ context: UserContext, to action: AuditAction) async throws {
        try await admit(
            context, to: action, if: mayAdminister(context, action),
            else: Problem(.forbidden, "Only an administrator may do this."))
    }

    /// Lets only administrators make a change that the database records by itself.
    func administrator(_ context: UserContext, toChange action: AuditAction) async throws {
        if mayAdminister(context, action) { return }
        try await administrator(context, to: action)
    }

    private func mayAdminister(_ context: UserContext, _ action: AuditAction) -> Bool {
        action.administrativeNeed.map { Access.permits($0, to: context.user.role) } ?? false
    }
}
