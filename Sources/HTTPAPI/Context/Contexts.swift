import Credentials
import Domain
import Foundation
import Hummingbird
import Logging

/// What every request carries.
struct AppContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Names the request to the client and in the log.
    ///
    /// The framework would read it back from the logger's metadata, and stop the program where a log handler keeps none.
    let id = UUID().uuidString.lowercased()
    /// The connection that the request came over.
    let connection: ClientConnection
    /// What the access token says, if a valid one came with the request.
    var claims: AccessClaims?
    /// Why the credential that came with the request does not count, when more is to be said than that.
    ///
    /// It is an error where signing in is asked for: signing in itself does not depend on it.
    var refusal: (any Error)?
    /// The signed-in user, once the database was asked.
    var user: User?

    init(source: Source) {
        coreContext = .init(source: source)
        connection = ClientConnection(channel: source.channel)
        logger[metadataKey: "hb.request.id"] = "\(id)"
    }
}

/// The context behind a valid access token.
///
/// The account may still be inactive or signed out: whoever takes this has to ask the database, in the statement that
/// does its work.
struct TokenContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let claims: AccessClaims
    let connection: ClientConnection
    /// Names the request, as ``AppContext/id`` does.
    let requestID: String

    init(context: AppContext) throws {
        if let refusal = context.refusal { throw refusal }
        guard let claims = context.claims else { throw Problem.unauthorized }
        coreContext = context.coreContext
        connection = context.connection
        requestID = context.id
        self.claims = claims
    }
}

/// The context of a user who is known, active and signed in.
struct UserContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let claims: AccessClaims
    let user: User
    /// Names the request, as ``AppContext/id`` does.
    let requestID: String

    init(context: AppContext) throws {
        guard let claims = context.claims, let user = context.user else { throw Problem.unauthorized }
        coreContext = context.coreContext
        requestID = context.id
        self.claims = claims
        self.user = user
    }
}

extension RequestContext {
    /// The user that a parameter of the path names.
    ///
    /// - Throws: 422 when it is not a UUID.
    func userID(_ name: String = "id") throws(Problem) -> UserID {
        guard let id = parameters.get(name).flatMap({ UserID($0) }) else { throw .invalid(name, "is not a UUID.") }
        return id
    }

    /// The session that the path names.
    ///
    /// - Throws: 422 when it is not a UUID.
    func sessionID() throws -> SessionID {
        guard let id = parameters.get("id").flatMap({ SessionID($0) }) else {
            throw Problem.invalid("id", "is not a UUID.")
        }
        return id
    }
}

extension AccessClaims {
    var principal: Principal { Principal(user: user, signIn: signIn) }
}
