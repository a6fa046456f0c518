import CSpawn
import Dispatch
import FoundationEssentials
import Glibc
import Synchronization

/// One child process, whose end the program can await.
///
/// The standard input of a supervised child is a socket. Only this process holds the other end. The child therefore
/// reads end of file when this process ends, even by SIGKILL.
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
    /// The child has its own session. A terminal's Ctrl-C therefore does not reach it. The caller decides when it ends.
    ///
    /// - Parameters:
    ///   - arguments: The absolute path of the program, then its arguments.
    ///   - environment: The whole environment of the child.
    ///   - outputPath: The file to which standard output and standard error are appended.
    ///   - holdsInput: True for a socket on standard input, false for `/dev/null`.
    /// - Returns: The running child.
    /// - Throws: `LocalPostgresError` with the system's reason.
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
        // waitpid(2) blocks. A queue of its own lends it a thread until the child ends.
        DispatchQueue(label: "therapybridge.postgres").async { [weak child] in
            var status: CInt = 0
            while unsafe waitpid(processID, &status, 0) < 0, errno == EINTR {}
            child?.ended(status)
        }
        return child
    }

    /// The raw wait status; nil while the child runs.
    var exitStatus: CInt? { state.withLock { $0.exitStatus } }

    /// Writes a line to the child's standard input.
    ///
    /// Does nothing if the child has ended.
    func tell(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        state.withLock { state in
            guard state.exitStatus == nil, state.inputDescriptor >= 0 else { return }
            _ = unsafe bytes.withUnsafeBytes { unsafe cspawn_send(state.inputDescriptor, $0.baseAddress, $0.count) }
        }
    }

    /// Waits for the end of the child.
    ///
    /// - Parameter timeout: The longest wait.
    /// - Returns: The raw wait status, or nil after the timeout.
    func waitForExit(timeout: Duration) async -> CInt? {
        let id = UUID()
        // An unstructured task: the method does not wait for the timer when the child ends first.
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

/// The folder of an absolute path; `/` for a path in it.
func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return "/" }
    return String(path[..<slash])
}

/// The text of an `errno` value.
func reason(_ code: CInt) -> String { unsafe String(cString: strerror(code)) }
