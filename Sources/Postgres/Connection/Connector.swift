import Logging

/// Opens connections: looks names up on another thread, then tries one address after the other.
struct Connector {
    let configuration: PostgresConfiguration
    let runtime: PostgresRuntime
    var onNotification: @Sendable (PostgresNotification) -> Void = { _ in }
    var onClose: @Sendable (PostgresError) -> Void = { _ in }

    /// Opens a connection.
    ///
    /// Each address gets its share of the time. An address that swallows packets cannot take the time of the next one.
    ///
    /// - Returns: The connection.
    /// - Throws: `PostgresError` with code `connection` and the cause of each address, `deadlineExceeded`, or
    ///   `cancelled`.
    func connect() async throws -> ConnectionCore {
        let parameters = configuration.parameters()
        let settings = ConnectionInfo.defaults().merging(parameters) { $1 }
        let listed = try HostList.candidates(settings)
        let resolved = try await resolve(listed)

        let hasTurn = try await runtime.connectGate.enter(on: runtime.poller)
        defer { if hasTurn { runtime.connectGate.leave() } }
        let deadline = runtime.clock.now + configuration.connectTimeout
        var failures: [PostgresError] = []
        for (index, candidate) in resolved.enumerated() {
            let remaining = deadline - runtime.clock.now
            guard remaining > .zero else { break }
            let share = remaining / (resolved.count - index)
            do {
                return try await open(candidate, parameters: parameters, deadline: runtime.clock.now + share)
            } catch let error as PostgresError {
                if error.code == .cancelled { throw error }
                failures.append(error)
                // The server answered with a refusal. Like libpq, do not try the next address.
                if error.sqlState?.isPermanentForConnecting == true { break }
            }
        }
        if failures.isEmpty {
            throw PostgresError(.deadlineExceeded, "connecting to the database took too long")
        }
        if let only = failures.last, failures.count == 1 || only.sqlState?.isPermanentForConnecting == true {
            throw only
        }
        throw PostgresError(.connection, "cannot connect to the database", underlying: failures)
    }

    private func open(
        _ candidate: HostCandidate,
        parameters: [String: String],
        deadline: ContinuousClock.Instant
    ) async throws -> ConnectionCore {
        var parameters = parameters
        parameters["host"] = candidate.host.isEmpty ? nil : candidate.host
        parameters["hostaddr"] = candidate.address
        parameters["port"] = candidate.port
        let core = ConnectionCore(
            runtime: runtime, configuration: configuration, onNotification: onNotification, onClose: onClose)
        try await core.open(parameters.sorted { $0.key < $1.key }, deadline: deadline)
        return core
    }

    /// Replaces each name by its addresses.
    ///
    /// A name without an address is left out if another host is left.
    private func resolve(_ candidates: [HostCandidate]) async throws -> [HostCandidate] {
        var resolved: [HostCandidate] = []
        var failures: [any Error] = []
        for candidate in candidates {
            guard HostList.needsLookUp(candidate) else {
                resolved.append(candidate)
                continue
            }
            let answer = OneShot<[String]>()
            do {
                try runtime.resolvers.run { answer.resume(with: Result { try lookUp(candidate.host) }) }
                let addresses = try await answer.value(
                    until: runtime.clock.now + configuration.connectTimeout, on: runtime.poller,
                    "looking up a host name")
                resolved += addresses.map { HostCandidate(host: candidate.host, address: $0, port: candidate.port) }
            } catch let error as PostgresError where error.code == .cancelled {
                throw error
            } catch {
                failures.append(error)
            }
        }
        guard !resolved.isEmpty else {
            throw PostgresError(.connection, "cannot find the database's host", underlying: failures)
        }
        return resolved
    }
}
