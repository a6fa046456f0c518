import CSpawn
import Foundation
import Glibc
import Synchronization

/// One child process whose end can be awaited.
///
/// Standard input of a supervised child is a socket whose other end only this process holds, so the child reads end of
/// file as soon as this process is gone, however it went.
final class ChildProcess: Sendable {
    private struct State {
        var exitStatus: CInt?
        var inputDescriptor: CInt
        var waiters: [UUID: CheckedContinuation<CInt?, Never>] = [:]
    }

    let processID: pid_t
    private let state: Mutex<State>

    private init(processID: pid_t, inputDescriptor: CInt) {
        self.processID = processID
        self.state = Mutex(State(inputDescriptor: inputDescriptor))
    }

    deinit {
        let descriptor = state.withLock { $0.inputDescriptor }
        if descriptor >= 0 { close(descriptor) }
    }

    /// Starts a program in a session of its own, with every descriptor above 2 closed.
    ///
    /// A session of its own keeps Ctrl-C of a terminal from the child: who started it decides when it ends.
    ///
    /// - Parameters:
    ///   - arguments: the program's absolute path, then its arguments.
    ///   - environment: the whole environment of the child.
    ///   - outputPath: the file that receives standard output and standard error, appended.
    ///   - holdsInput: gives the child a channel on standard input, or `/dev/null` when false.
    /// - Returns: the child, which runs.
    /// - Throws: `LocalPostgresError` with the reason of the system.
    static func start(
        _ arguments: [String],
        environment: [String: String],
        outputPath: String,
        holdsInput: Bool
    ) throws -> ChildProcess {
        var ends: [CInt] = [-1, -1]
        if holdsInput {
            let status = unsafe cspawn_channel(&ends)
            guard status == 0 else { throw LocalPostgresError(.start, "cannot make a socket pair: \(reason(status))") }
        }
        defer { if ends[0] >= 0 { close(ends[0]) } }

        var argv: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer {
            for index in unsafe argv.indices { unsafe free(argv[index]) }
            for index in unsafe envp.indices { unsafe free(envp[index]) }
        }

        var started: pid_t = 0
        let status = unsafe cspawn_start(&started, &argv, &envp, ends[0], outputPath)
        let processID = started
        guard status == 0 else {
            if ends[1] >= 0 { close(ends[1]) }
            throw LocalPostgresError(.start, "cannot run \(arguments[0]): \(reason(status))")
        }
        let child = ChildProcess(processID: processID, inputDescriptor: ends[1])
        // waitpid(2) blocks, so it has a thread of its own, which ends with the child.
        Thread.detachNewThread { [weak child] in
            var status: CInt = 0
            while unsafe waitpid(processID, &status, 0) < 0, errno == EINTR {}
            child?.ended(status)
        }
        return child
    }

    /// The raw wait status, or nil while the child runs.
    var exitStatus: CInt? { state.withLock { $0.exitStatus } }

    /// Writes a line to the child's standard input; a child that has gone is no error.
    func tell(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        state.withLock { state in
            guard state.exitStatus == nil, state.inputDescriptor >= 0 else { return }
            _ = unsafe bytes.withUnsafeBytes { unsafe cspawn_send(state.inputDescriptor, $0.baseAddress, $0.count) }
        }
    }

    /// Waits for the end.
    ///
    /// - Parameter timeout: how long to wait.
    /// - Returns: the raw wait status, or nil when the time is over first.
    func waitForExit(timeout: Duration) async -> CInt? {
        let id = UUID()
        // Not structured: the timer must not be awaited when the child ends first.
        let timer = Task { [weak self] in
            try? await Task.sleep(for: timeout)
            self?.giveUp(id)
        }
        defer { timer.cancel() }
        return await withCheckedContinuation { continuation in
            let status = state.withLock { state -> CInt? in
                if state.exitStatus == nil { state.waiters[id] = continuation }
                return state.exitStatus
            }
            if let status { continuation.resume(returning: status) }
        }
    }

    private func giveUp(_ id: UUID) {
        state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: nil)
    }

    private func ended(_ status: CInt) {
        let waiters = state.withLock { state in
            state.exitStatus = status
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: status) }
    }
}

/// The text of an `errno` value.
func reason(_ code: CInt) -> String { unsafe String(cString: strerror(code)) }
