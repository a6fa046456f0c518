import Credentials
import Domain
import FoundationEssentials
import Hummingbird
import Logging

/// The context of every request.
struct AppContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Names the request to the client, in the log and in the audit log.
    let requestID: RequestIdentifier
    /// The text of ``requestID``.
    ///
    /// The framework reads its own id back from the logger's metadata, and stops the program if a log handler keeps
    /// none.
    let id: String
    /// The hub's answer to this request, if it came before the framework had the request.
    let opening: PreparedOpening?
    /// The connection that the request came over.
    let connection: ClientConnection
    /// What becomes of the answer.
    let delivery = AnswerDelivery()
    /// Whose request it is, for the line of the request.
    let caller = RequestCaller()
    /// Where the request came from, past the trusted proxies; nil if that is unknown.
    var network: ClientNetwork?
    /// The claims of the access token, if the request has a valid one.
    var claims: AccessClaims?
    /// Why the credential of the request does not count, if the answer should say more than 401.
    ///
    /// Only routes that need a user throw it. A client can still sign in.
    var refusal: (any Error)?
    /// The signed-in user, after the query for the account.
    var user: User?

    init(source: Source) {
        coreContext = .init(source: source)
        connection = ClientConnection(channel: source.channel)
        opening = PreparedOpening.ofConnection?.take()
        requestID = opening?.requestID ?? .random()
        id = requestID.description
        logger[metadataKey: RequestLog.idKey] = "\(id)"
    }
}

/// The context of a request with a valid access token.
///
/// The account may be inactive, and the sign-in may have ended. The handler has to check both, in the statement that
/// does its work.
struct TokenContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let claims: AccessClaims
    let connection: ClientConnection
    /// Where the request came from, as in ``AppContext/network``.
    let network: ClientNetwork?
    /// Names the request, as in ``AppContext/requestID``.
    let requestID: RequestIdentifier
    /// The hub's answer to this request, as in ``AppContext/opening``.
    let opening: PreparedOpening?

    init(context: AppContext) throws {
        if let refusal = context.refusal { throw refusal }
        guard let claims = context.claims else { throw Problem.unauthorized }
        coreContext = context.coreContext
        connection = context.connection
        network = context.network
        requestID = context.requestID
        opening = context.opening
        self.claims = claims
    }
}

/// The context of a request from an active, signed-in user.
struct UserContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let claims: AccessClaims
    let user: User
    let connection: ClientConnection
    /// What becomes of the answer.
    let delivery: AnswerDelivery
    /// Where the request came from, as in ``AppContext/network``.
    let network: ClientNetwork?
    /// Names the request, as in ``AppContext/requestID``.
    let requestID: RequestIdentifier

    init(context: AppContext) throws {
        guard let claims = context.claims, let user = context.user else { throw Problem.unauthorized }
        coreContext = context.coreContext
        connection = context.connection
        delivery = context.delivery
        network = context.network
        requestID = context.requestID
        self.claims = claims
        self.user = user
    }
}

extension RequestContext {
    /// The user whose id a parameter of the path holds.
    ///
    /// - Throws: 422 if the parameter is not a UUID.
    func userID(_ name: String = "id") throws(Problem) -> UserID { try entityID(name) }

    /// The session whose id a parameter of the path holds.
    ///
    /// - Throws: 422 if the parameter is not a UUID.
    func sessionID(_ name: String = "id") throws(Problem) -> SessionID { try entityID(name) }

    /// The entity whose id a parameter of the path holds.
    ///
    /// - Throws: 422 if the parameter is not a UUID.
    func entityID<ID: EntityID>(_ name: String = "id") throws(Problem) -> ID {
        guard let id = parameters.get(name).flatMap({ ID($0) }) else { throw .invalid(name, "is not a UUID.") }
        return id
    }
}

extension AccessClaims {
    var principal: Principal { Principal(user: user, signIn: signIn) }
}
