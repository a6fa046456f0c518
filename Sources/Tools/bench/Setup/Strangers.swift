/// Accounts that watch nothing, and that nobody watches.
///
/// Each is a therapist without a patient, with ten sign-ins. The accounts and all sign-ins have numbers from 0 on.
struct Strangers: Sendable {
    static let signInsEach = 10

    let database: BenchDatabase
    /// The number of sign-ins.
    let signIns: Int

    /// Adds the accounts to a database that has none of them.
    static func add(to database: BenchDatabase, signIns: Int) async throws -> Strangers {
        let accounts = (signIns + signInsEach - 1) / signInsEach
        try await database.add(
            BenchDatabase.users(
                .stranger, .strangerSignIn, "therapist", 0..<accounts, signInsEach: signInsEach)
                + BenchDatabase.users(.strangersPatient, nil, "patient", 0..<1))
        return Strangers(database: database, signIns: accounts * signInsEach)
    }

    /// The statement that ends a sign-in, as the server does.
    ///
    /// The number is an expression in SQL.
    static func signOut(_ number: String) -> String {
        BenchDatabase.signOut(BenchDatabase.idExpression(.strangerSignIn, number))
    }

    /// The statement that assigns a stranger to a patient whom nobody watches.
    static func assign(_ account: Int) -> String {
        """
        INSERT INTO app.therapist_patients (therapist_id, patient_id)
        VALUES (\(BenchDatabase.idExpression(.stranger, "\(account)")), \
        \(BenchDatabase.idExpression(.strangersPatient, "0")))
        """
    }
}
