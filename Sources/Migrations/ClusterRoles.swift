import Postgres

/// The part of the first step that makes the roles, which belong to the whole cluster.
enum ClusterRoles {
    /// The statement by which an operator says that all databases of the cluster are one trust domain.
    static let acceptSharedCluster = "SET LOCAL therapybridge.shared_cluster = on"

    /// The statements that make the roles: the lines of the first step between two marks.
    static var statements: String {
        let lines = Migration.carried.first?.sql.split(separator: "\n", omittingEmptySubsequences: false) ?? []
        let block = lines.drop { !$0.hasPrefix("-- Begin of the roles") }.prefix {
            !$0.hasPrefix("-- End of the roles")
        }
        precondition(!block.isEmpty, "the first step has lost its marks")
        return block.joined(separator: "\n")
    }

    /// The error for an operator, if the statements have refused the cluster; nil for any other error.
    static func refusal(_ error: any Error) -> MigrationError? {
        guard let answer = (error as? PostgresError)?.server,
            ["cluster_shared", "role_attributes"].contains(answer.constraintName)
        else { return nil }
        return .unsafeCluster([answer.message, answer.hint].compactMap(\.self).joined(separator: ". "))
    }
}
