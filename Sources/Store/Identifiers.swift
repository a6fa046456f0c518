import Domain
import Foundation
import Postgres

// How the domain's values travel to and from PostgreSQL.
